package bus_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

func survey(t *testing.T, b *bus.Bus) *bus.Survey {
	t.Helper()
	s, err := bus.Layout{Bus: b}.Survey(t.Context(), shop, &wiring.Snapshot{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSurvey(t *testing.T) {
	b := start(t, onCall("redeem"), onEvent("welcome", "a.b"))
	if s := survey(t, b); len(s.Triggers) != 3 || len(s.Dead) != 0 || s.Triggers["WORK_shop/mail"].Trigger != names.MailConsumer {
		t.Fatalf("at first: %+v", s)
	}
	store(t, b, call("1", ""), call("2", ""), call("3", ""))
	publish(t, b, someEvents("a.b", 2)...)
	publish(t, b, someEvents("b.c", 2)...) // not for anyone
	work, events := names.Work(shop), names.Events(shop)
	held := receive(t, b, work, "offers_redeem", 3)
	due := time.Now().Add(time.Hour)
	later := retried(&held[0].Message, names.Call(offers, "redeem", "1"), envelope.Progress{Origin: "1", Attempts: 1, First: time.Now()}, due)
	store(t, b, later)
	again := receive(t, b, events, "offers_welcome", 1)[0]
	p := envelope.Progress{Origin: "1", Attempts: 1, First: time.Now()}
	store(t, b, retried(&again.Message, names.EventDue(offers, "welcome"), p, due))
	p.Origin = "2" // of this one it is the time, and nobody relays it
	store(t, b, retried(&again.Message, names.EventDue(offers, "welcome"), p, time.Now()))
	eventually(t, "a retry is due", func() bool {
		_, err := b.Last(t.Context(), "RETRY_shop", names.EventDue(offers, "welcome"))
		return err == nil
	})
	if err := held[0].Ack(); err != nil {
		t.Fatal(err)
	}
	if err := b.Bury(t.Context(), &held[1].Message, bus.Ending{Function: offers, Trigger: "redeem", Verdict: delivery.Verdict{Reason: "x"}, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the call is settled", func() bool { return survey(t, b).Triggers[work+"/offers_redeem"].InFlight == 2 })
	s := survey(t, b)
	redeem := s.Triggers[work+"/offers_redeem"]
	if redeem.Function != offers || redeem.Trigger != "redeem" || redeem.Pending != 1 || redeem.Settled.IsZero() || redeem.AtRisk {
		t.Errorf("redeem: %+v", redeem)
	}
	if welcome := s.Triggers[events+"/offers_welcome"]; welcome.Pending+welcome.InFlight != 4 || !welcome.Settled.IsZero() || welcome.AtRisk {
		t.Errorf("welcome: %+v", welcome)
	}
	if n := s.Dead[bus.DeadKey{Function: offers, Trigger: "redeem"}]; n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

// TestSurveyOfQueue counts the messages of a queue as its trigger's: those that
// wait, and those that wait until they are due.
func TestSurveyOfQueue(t *testing.T) {
	b := start(t, v1alpha1.Trigger{Name: "jobs", Queue: &v1alpha1.QueueSource{Name: "resize"}})
	message := func(queue, id string, delay time.Duration) *envelope.Message {
		m := envelope.New(names.QueueMessage(shop, queue, id), []byte("a job"))
		m.ID = "q/" + id
		if delay > 0 {
			m.PutOff(time.Now().Add(delay))
		}
		return m
	}
	store(t, b, message("resize", "1", 0), message("resize", "2", 0), message("resize", "3", time.Hour), message("other", "4", time.Hour), message("other", "5", 0))
	if jobs := survey(t, b).Triggers[names.Work(shop)+"/offers_jobs"]; jobs.Function != offers || jobs.Trigger != "jobs" || jobs.Pending != 3 || jobs.InFlight != 0 {
		t.Errorf("got %+v", jobs)
	}
}

func TestSurveyOfNothing(t *testing.T) {
	if s := survey(t, natstest.Connect(t, natstest.Server(t))); len(s.Triggers)+len(s.Dead) != 0 {
		t.Errorf("got %+v", s)
	}
}

func TestInUse(t *testing.T) {
	b := start(t, onCall("redeem"))
	layOut(t, b) // the trigger is gone
	o := orphans(t, b)[0]
	inUse := func() bool {
		used, err := bus.Layout{Bus: b}.InUse(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return used
	}
	if inUse() {
		t.Error("nobody uses it")
	}
	held := make(chan *bus.Delivered, 1)
	stop, err := b.Consume(t.Context(), o.Stream, o.Consumer, 10, func(d *bus.Delivered) { held <- d })
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is pulled from", inUse)
	store(t, b, call("1", ""))
	d := <-held
	stop()
	if !inUse() {
		t.Error("a message is under way")
	}
	if err := d.Ack(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is left alone", func() bool { return !inUse() })
	retire(t, b, o)
	if inUse() {
		t.Error("it is gone")
	}
}

func TestConsumerLimit(t *testing.T) {
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOut(t, b)
	stream, err := raw(t, s).Stream(t.Context(), names.Events(shop))
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxConsumers = 1
	if _, err := raw(t, s).UpdateStream(t.Context(), cfg); err != nil {
		t.Skipf("the server does not change the limit: %v", err)
	}
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "one"}); err != nil {
		t.Fatal(err)
	}
	compiled := wiring.Compile(nil, wiring.Hosts{})
	compiled.Subscriptions = []*wiring.Subscription{{Function: offers, Trigger: "a", Stream: names.Events(shop), Consumer: "offers_a", Filters: []string{"ev.shop.a"}, Concurrency: 1}}
	err = bus.Layout{Bus: b}.Apply(t.Context(), compiled)
	if !bus.IsConsumerLimit(err) || bus.IsConsumerLimit(nil) || bus.IsConsumerLimit(bus.ErrFull) {
		t.Errorf("got %v", err)
	}
}

// TestAtRisk looks at events that wait as if half a week had passed.
func TestAtRisk(t *testing.T) {
	b := start(t, onEvent("welcome", "a.b", "b.c"), onEvent("other", "x"))
	publish(t, b, newEvent("x", "0"), newEvent("b.c", "1"))
	atRisk := func(trigger string, later time.Duration) bool {
		s, err := bus.Layout{Bus: b}.Survey(t.Context(), shop, &wiring.Snapshot{}, time.Now().Add(later))
		if err != nil {
			t.Fatal(err)
		}
		return s.Triggers[names.Events(shop)+"/offers_"+trigger].AtRisk
	}
	const day = 24 * time.Hour
	if !atRisk("welcome", 4*day) || !atRisk("other", 4*day) || atRisk("welcome", 3*day) {
		t.Error("what waits is at risk from half of seven days on")
	}
	receiveAndAck(t, b, names.Events(shop), "offers_welcome", 1)
	eventually(t, "nothing waits", func() bool { return !atRisk("welcome", 4*day) })
	if !atRisk("other", 4*day) {
		t.Error("the other trigger's event still waits")
	}
}
