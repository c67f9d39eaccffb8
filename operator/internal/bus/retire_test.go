package bus_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// retried is the copy of a message that is stored when it is put off.
func retried(m *envelope.Message, target string, p envelope.Progress, due time.Time) *envelope.Message {
	p.First = p.First.Round(0)
	return envelope.Retry(m, target, p, due)
}

func orphans(t *testing.T, b *bus.Bus) []bus.Orphan {
	t.Helper()
	out, err := bus.Layout{Bus: b}.Orphans(t.Context(), shop, layOut(t, b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func retire(t *testing.T, b *bus.Bus, o bus.Orphan) int {
	t.Helper()
	buried, err := bus.Layout{Bus: b}.Retire(t.Context(), o, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return buried
}

func TestOrphans(t *testing.T) {
	b := start(t, onCall("redeem"), onEvent("welcome", "a.b"), onCall("kept"))
	removed := map[bus.Orphan]bool{
		{Stream: "WORK_shop", Consumer: "offers_redeem", Function: offers, Trigger: "redeem"}: true,
		{Stream: "EV_shop", Consumer: "offers_welcome", Function: offers, Trigger: "welcome"}: true,
	}
	s := layOut(t, b, onCall("kept"), onCall("welcome")) // welcome is another kind of trigger now
	got, err := bus.Layout{Bus: b}.Orphans(t.Context(), shop, s)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range got {
		if !removed[o] {
			t.Errorf("%+v is used", o)
		}
		delete(removed, o)
	}
	if len(removed) > 0 {
		t.Errorf("not found: %v", removed)
	}
	if none, err := (bus.Layout{Bus: b}).Orphans(t.Context(), "elsewhere", s); err != nil || len(none) > 0 {
		t.Errorf("a namespace without streams has orphans %v, %v", none, err)
	}
}

func TestRetireCalls(t *testing.T) {
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOut(t, b, onCall("redeem"))
	now := time.Now()
	other := envelope.Call(offers, "other", "other", envelope.Request{Method: "GET", Target: "/"}, nil)
	putOff := retried(call("putoff", "put off"), call("putoff", "").Subject,
		envelope.Progress{Attempts: 3, Tries: 4, Origin: "putoff", First: now.Add(-time.Minute)}, now.Add(time.Hour))
	store(t, b, call("running", "running"))
	receive(t, b, "WORK_shop", "offers_redeem", 1)
	store(t, b, call("queued", "queued"), putOff, other,
		envelope.New("work.shop.queue.jobs.1", []byte("a job")), envelope.New(names.Mail(offers, "1"), []byte("a mail")))

	all := orphans(t, b)
	if len(all) != 2 || all[0].Trigger != "redeem" || all[1].Trigger != "other" { // other has a call, and no consumer
		t.Fatalf("orphans %v", all)
	}
	if n := retire(t, b, all[0]); n != 3 {
		t.Errorf("%d calls buried, want 3", n)
	}
	attempts := map[string]int{"running": 0, "queued": 0, "putoff": 3}
	for _, m := range stored(t, b, "DEAD_shop", "dead.shop.offers.redeem") {
		d, body, err := m.DeadLetter()
		if err != nil {
			t.Fatal(err)
		}
		want, known := attempts[d.Origin]
		if !known || d.Attempts != want || d.Reason != delivery.ReasonTriggerRemoved || d.Subject != call(d.Origin, "").Subject {
			t.Errorf("dead letter %+v", d)
		}
		if r, err := m.Request(); err != nil || r.Target != "/redeem" || len(body) == 0 {
			t.Errorf("the dead letter keeps request %+v, %v, and body %q", r, err, body)
		}
		result, err := b.FindCall(t.Context(), shop, d.Origin)
		if err != nil || result.Result.State != envelope.DeadState || result.Result.Reason != delivery.ReasonTriggerRemoved || result.Result.Attempts != want {
			t.Errorf("result %+v, %v", result.Result, err)
		}
		delete(attempts, d.Origin)
	}
	if len(attempts) > 0 {
		t.Errorf("not buried, or twice: %v", attempts)
	}
	js := raw(t, s)
	if _, err := js.Consumer(t.Context(), "WORK_shop", "offers_redeem"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("the consumer: %v", err)
	}
	for _, subject := range []string{other.Subject, "work.shop.queue.jobs.1", names.Mail(offers, "1")} {
		if _, err := b.Last(t.Context(), "WORK_shop", subject); err != nil {
			t.Errorf("what is not the trigger's: %v", err)
		}
	}

	before := everything(t, js)
	if n := retire(t, b, all[0]); n != 0 {
		t.Errorf("%d buried when there is nothing left", n)
	}
	if after := everything(t, js); !reflect.DeepEqual(before, after) {
		t.Errorf("a second time changed something:\n%+v\n%+v", before, after)
	}
}

func TestRetireEventTrigger(t *testing.T) {
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOut(t, b, onEvent("welcome", "a.b"), onEvent("kept", "a.b"))
	publish(t, b, newEvent("a.b", "1"), newEvent("a.b", "2"))
	now := time.Now()
	first := stored(t, b, "EV_shop", "ev.shop.a.b")[0]
	progress := envelope.Progress{Attempts: 1, Tries: 1, Origin: "1", First: now}
	for _, trigger := range []string{"welcome", "kept"} {
		store(t, b, retried(first, names.EventDue(offers, trigger), progress, now.Add(time.Hour)), &envelope.Message{Subject: names.EventDue(offers, trigger)}, &envelope.Message{Subject: names.EventRetry(offers, trigger)})
	}
	s2 := layOut(t, b, onEvent("kept", "a.b"))
	all, err := bus.Layout{Bus: b}.Orphans(t.Context(), shop, s2)
	if err != nil || len(all) != 1 {
		t.Fatalf("orphans %v, %v", all, err)
	}
	for range 2 {
		if n := retire(t, b, all[0]); n != 0 {
			t.Errorf("%d buried", n)
		}
	}
	if got := ids(t, b); len(got) != 2 {
		t.Errorf("the log holds %q", got)
	}
	for subject, stream := range map[string]string{"evsched.shop.offers.%s.1": "RETRY_shop", "evdue.shop.offers.%s": "RETRY_shop", "evretry.shop.offers.%s": "EV_shop"} {
		if _, err := b.Last(t.Context(), stream, fmt.Sprintf(subject, "welcome")); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("a retry of the removed trigger is left on %s: %v", subject, err)
		}
		if _, err := b.Last(t.Context(), stream, fmt.Sprintf(subject, "kept")); err != nil {
			t.Errorf("the other trigger's retry on %s: %v", subject, err)
		}
	}
	if _, err := raw(t, s).Consumer(t.Context(), "EV_shop", "offers_welcome"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("the consumer: %v", err)
	}
}

// A call that has ended, and whose message was not yet removed, keeps its result.
func TestRetireKeepsResults(t *testing.T) {
	b := start(t, onCall("redeem"))
	store(t, b, call("1", "body"))
	item, _ := names.ParseWork(call("1", "").Subject)
	if err := b.StoreResult(t.Context(), item, envelope.Succeeded, bus.Ending{Verdict: delivery.Verdict{Attempts: 1}}); err != nil {
		t.Fatal(err)
	}
	retire(t, b, orphans(t, b)[0])
	if c, err := b.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.Succeeded {
		t.Errorf("result %+v, %v", c.Result, err)
	}
	if n := len(stored(t, b, "DEAD_shop", "dead.shop.>")); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	if _, err := b.Last(t.Context(), "WORK_shop", call("1", "").Subject); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("its message: %v", err)
	}
}

// Schedules that fire in the midst of it are buried as well.
func TestRetireWhileRetriesFallDue(t *testing.T) {
	const calls = 400
	b := start(t, onCall("redeem"))
	now := time.Now()
	for i := range calls {
		id := fmt.Sprint("c", i)
		store(t, b, retried(call(id, "x"), call(id, "").Subject,
			envelope.Progress{Attempts: 1, Tries: 1, Origin: id, First: now}, now.Add(time.Duration(i)*3*time.Millisecond)))
	}
	all := orphans(t, b)
	retire(t, b, all[0])
	for _, filter := range []string{names.CallFilter(offers, "redeem"), names.Schedule(names.CallFilter(offers, "redeem"))} {
		if m, err := b.Last(t.Context(), "WORK_shop", filter); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("left behind: %v, %v", m, err)
		}
	}
	dead := map[string]int{}
	for _, m := range stored(t, b, "DEAD_shop", "dead.shop.>") {
		d, _, _ := m.DeadLetter()
		dead[d.Origin]++
	}
	for id, n := range dead {
		if n != 1 {
			t.Errorf("call %s has %d dead letters", id, n)
		}
	}
	if len(dead) != calls {
		t.Errorf("%d calls are dead, want %d", len(dead), calls)
	}
}

func TestBuryWhatCannotBeRead(t *testing.T) {
	b := start(t)
	m := &envelope.Message{Subject: call("1", "").Subject, Header: envelope.Header{}, Body: []byte("?"), Sequence: 17}
	v := delivery.Malformed(errors.New("no format"))
	if err := b.Bury(t.Context(), m, bus.Ending{Function: offers, Trigger: "redeem", Verdict: v, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	letters := stored(t, b, "DEAD_shop", "dead.shop.offers.redeem")
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	d, body, err := letters[0].DeadLetter()
	if err != nil || d.Reason != delivery.ReasonMalformed || d.Origin != "17" || string(body) != "?" {
		t.Errorf("dead letter %+v, %q, %v", d, body, err)
	}
}
