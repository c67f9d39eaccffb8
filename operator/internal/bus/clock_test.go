package bus_test

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/schedule"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

func onSchedule(cron string, change ...func(*v1alpha1.Trigger)) v1alpha1.Trigger {
	t := v1alpha1.Trigger{Name: "expire", Schedule: &v1alpha1.ScheduleSource{Cron: cron}}
	for _, c := range change {
		c(&t)
	}
	return t
}

func paused(t *v1alpha1.Trigger) { t.Paused = true }

var (
	clockSubject = names.Clock(offers, "expire")
	tickSubject  = names.Tick(offers, "expire")
)

// clockOf is the clock of the trigger expire.
func clockOf(t *testing.T, b *bus.Bus) (*envelope.Message, schedule.Fired) {
	t.Helper()
	m, err := b.Last(t.Context(), "WORK_shop", clockSubject)
	if err != nil {
		t.Fatal(err)
	}
	fired, err := schedule.Read(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, fired
}

// sequence is that of the last message that was stored.
func sequence(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), "WORK_shop")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// subjects are those that the work stream has messages on.
func subjects(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	s, err := js.Stream(t.Context(), "WORK_shop")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(info.State.Subjects))
}

func TestClock(t *testing.T) {
	s := natstest.Server(t)
	b, js := natstest.Connect(t, s), raw(t, s)
	steps := []struct {
		what    string
		trigger v1alpha1.Trigger
		spec    schedule.Spec
		still   bool
		same    bool // nothing is written
	}{
		{"new", onSchedule("0 2 * * *"), schedule.Spec{Cron: "0 2 * * *", TimeZone: "UTC"}, false, false},
		{"settled", onSchedule("0 2 * * *"), schedule.Spec{Cron: "0 2 * * *", TimeZone: "UTC"}, false, true},
		{"another field", onSchedule("0 2 * * *", func(t *v1alpha1.Trigger) { t.Path, t.Schedule.Missed = "/x", v1alpha1.MissedSkip }), schedule.Spec{Cron: "0 2 * * *", TimeZone: "UTC"}, false, true},
		{"another cron", onSchedule("@every 24h"), schedule.Spec{Cron: "@every 24h", TimeZone: "UTC"}, false, false},
		{"an interval that is settled", onSchedule("@every 24h"), schedule.Spec{Cron: "@every 24h", TimeZone: "UTC"}, false, true},
		{"another zone", onSchedule("0 2 * * *", func(t *v1alpha1.Trigger) { t.Schedule.TimeZone = "Asia/Tokyo" }), schedule.Spec{Cron: "0 2 * * *", TimeZone: "Asia/Tokyo"}, false, false},
		{"paused", onSchedule("0 2 * * *", paused), schedule.Spec{Cron: "0 2 * * *", TimeZone: "UTC"}, true, false},
		{"paused still", onSchedule("0 2 * * *", paused), schedule.Spec{Cron: "0 2 * * *", TimeZone: "UTC"}, true, true},
		{"resumed", onSchedule("0 2 * * *"), schedule.Spec{Cron: "0 2 * * *", TimeZone: "UTC"}, false, false},
		{"broken", onSchedule("0 0 30 2 *"), schedule.Spec{Cron: "0 0 30 2 *"}, true, false},
		{"broken still", onSchedule("0 0 30 2 *"), schedule.Spec{Cron: "0 0 30 2 *"}, true, true},
		{"mended", onSchedule("0 0 28 2 *"), schedule.Spec{Cron: "0 0 28 2 *", TimeZone: "UTC"}, false, false},
	}
	var last uint64
	for _, step := range steps {
		layOut(t, b, step.trigger)
		m, fired := clockOf(t, b)
		if fired.Spec != step.spec || fired.Scheduled.Equal(schedule.Never) != step.still || fired.Scheduled.Before(time.Now()) {
			t.Errorf("%s: the clock is %+v", step.what, fired)
		}
		if now := sequence(t, js); (now == last) != step.same || m.Sequence > now {
			t.Errorf("%s: the stream was at %d and is at %d", step.what, last, now)
		} else {
			last = now
		}
		if all := subjects(t, js); !slices.Equal(all, []string{clockSubject}) {
			t.Errorf("%s: there are %v", step.what, all)
		}
	}
}

// TestClockGoes has nothing of a schedule be left when its trigger is removed, or
// has another source.
func TestClockGoes(t *testing.T) {
	tests := map[string]struct {
		now      []v1alpha1.Trigger
		consumer string // that is left in the work stream
	}{
		"removed":                  {nil, ""},
		"renamed":                  {[]v1alpha1.Trigger{onSchedule("@every 24h", func(t *v1alpha1.Trigger) { t.Name = "renamed" })}, "offers_renamed"},
		"a trigger of events now":  {[]v1alpha1.Trigger{onEvent("expire", "a.b")}, ""},
		"a trigger of calls now":   {[]v1alpha1.Trigger{onCall("expire")}, "offers_expire"},
		"a trigger of a queue now": {[]v1alpha1.Trigger{{Name: "expire", Queue: &v1alpha1.QueueSource{Name: "jobs"}}}, "offers_expire"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := natstest.Server(t)
			b := natstest.Connect(t, s)
			layOut(t, b, onSchedule("@every 24h"), onCall("redeem"))
			come := schedule.Clock(offers, "expire", schedule.Fired{Spec: schedule.Spec{Cron: "@every 24h", TimeZone: "UTC"}, Scheduled: time.Now()})
			come.Subject = tickSubject
			for key := range come.Header {
				if key == "Nats-Schedule" || key == "Nats-Schedule-Target" {
					delete(come.Header, key)
				}
			}
			putOff := retried(come, names.Again(tickSubject, offers, "expire", "7"), envelope.Progress{Attempts: 1, Tries: 1, Origin: "7", First: time.Now()}, time.Now().Add(time.Hour))
			store(t, b, come, putOff, call("1", "stays"))

			wired := layOut(t, b, append(test.now, onCall("redeem"))...)
			all, err := bus.Layout{Bus: b}.Orphans(t.Context(), shop, wired)
			if err != nil || len(all) != 1 || all[0].Trigger != "expire" || all[0].Stream != "WORK_shop" {
				t.Fatalf("orphans %+v, %v", all, err)
			}
			if n := retire(t, b, all[0]); n != 0 {
				t.Errorf("%d calls buried", n)
			}
			want := []string{call("1", "").Subject}
			if name == "renamed" {
				want = append(want, names.Clock(offers, "renamed"))
			}
			js := raw(t, s)
			if left := subjects(t, js); !slices.Equal(left, want) {
				t.Errorf("left are %v, want %v", left, want)
			}
			_, err = js.Consumer(t.Context(), "WORK_shop", "offers_expire")
			if (err == nil) != (test.consumer == "offers_expire") || err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				t.Errorf("the consumer: %v", err)
			}
			if again, err := (bus.Layout{Bus: b}).Orphans(t.Context(), shop, wired); err != nil || len(again) > 0 {
				t.Errorf("orphans %+v, %v", again, err)
			}
		})
	}
}

// TestCallsOfAnotherSource has the calls that wait for a trigger become dead
// letters when it is a schedule's now, whose clock stays.
func TestCallsOfAnotherSource(t *testing.T) {
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOut(t, b, onCall("redeem"))
	store(t, b, call("1", "waits"))
	wired := layOut(t, b, onSchedule("@every 24h", func(t *v1alpha1.Trigger) { t.Name = "redeem" }))
	all, err := bus.Layout{Bus: b}.Orphans(t.Context(), shop, wired)
	if err != nil || len(all) != 1 || all[0].Used != "work.shop.cron.offers.redeem.*" {
		t.Fatalf("orphans %+v, %v", all, err)
	}
	if n := retire(t, b, all[0]); n != 1 {
		t.Errorf("%d calls buried, want 1", n)
	}
	if left := subjects(t, raw(t, s)); !slices.Equal(left, []string{names.Clock(offers, "redeem")}) {
		t.Errorf("left are %v", left)
	}
	if letters := stored(t, b, "DEAD_shop", ">"); len(letters) != 1 {
		t.Errorf("%d dead letters", len(letters))
	}
}

// TestTimeComes has a clock that nobody sets anew come once, as an event, and one
// whose time comes while the server is down after its start.
func TestTimeComes(t *testing.T) {
	cfg := bus.EmbeddedConfig{Dir: t.TempDir(), MaxStore: 64 << 20, Logger: slog.New(slog.DiscardHandler)}
	_, b, stop := serve(t, cfg)
	layOut(t, b, onSchedule("@every 1s"))
	_, clock := clockOf(t, b)
	a := next(t, arrivals(t, b, "WORK_shop", "offers_expire"))
	fired, err := schedule.Read(&a.Message)
	if err != nil || fired != clock || a.Subject != tickSubject {
		t.Fatalf("%s: %+v, %v, want %+v", a.Subject, fired, err, clock)
	}
	if a.at.Before(fired.Scheduled) || a.Stored.Before(fired.Scheduled) {
		t.Errorf("it came %v early", fired.Scheduled.Sub(a.at))
	}
	if e := event.FromStored(a.Header, a.Body); e.Validate() != nil || e.Type() != schedule.EventType {
		t.Errorf("%+v", e)
	}
	if _, err := b.Last(t.Context(), "WORK_shop", clockSubject); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a clock is left: %v", err)
	}

	later := time.Now().Add(2 * time.Second)
	store(t, b, schedule.Clock(offers, "expire", schedule.Fired{Spec: fired.Spec, Scheduled: later, Series: fired.Series}))
	stop()
	time.Sleep(time.Until(later)) // its time comes while nobody is there
	_, b, _ = serve(t, cfg)
	a = next(t, arrivals(t, b, "WORK_shop", "offers_expire"))
	if fired, err := schedule.Read(&a.Message); err != nil || !fired.Scheduled.Equal(later) {
		t.Errorf("%+v, %v, want %v", fired, err, later)
	}
}

// TestTimeThatHasComeIsAClock has a time that nobody has taken up keep its
// schedule going, and be one of another schedule when that has changed.
func TestTimeThatHasComeIsAClock(t *testing.T) {
	b := start(t, onSchedule("@every 1s"))
	eventually(t, "its time comes", func() bool {
		_, err := b.Last(t.Context(), "WORK_shop", tickSubject)
		return err == nil
	})
	layOut(t, b, onSchedule("@every 1s"))
	if _, err := b.Last(t.Context(), "WORK_shop", clockSubject); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a clock was set beside it: %v", err)
	}
	layOut(t, b, onSchedule("@every 24h"))
	if _, fired := clockOf(t, b); fired.Cron != "@every 24h" {
		t.Errorf("%+v", fired)
	}
}

// TestClocksDoNotWait has the survey count the times that wait, and no clock.
func TestClocksDoNotWait(t *testing.T) {
	b := start(t, onSchedule("@every 24h"))
	count := func() bus.TriggerState {
		t.Helper()
		s, err := bus.Layout{Bus: b}.Survey(t.Context(), shop, &wiring.Snapshot{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return s.Triggers["WORK_shop/offers_expire"]
	}
	if c := count(); c.Pending != 0 || !c.Clock {
		t.Errorf("with a clock: %+v", c)
	}
	m, fired := clockOf(t, b)
	store(t, b, schedule.Clock(offers, "expire", schedule.Fired{Spec: fired.Spec, Scheduled: time.Now(), Series: fired.Series}))
	eventually(t, "its time comes", func() bool { return count().Pending == 1 })
	if c := count(); c.Clock {
		t.Errorf("with a time that has come: %+v", c)
	}
	m.Subject = tickSubject
	store(t, b, retried(m, names.Again(tickSubject, offers, "expire", "9"), envelope.Progress{Tries: 1, Origin: "9", First: time.Now()}, time.Now().Add(time.Hour)))
	if c := count(); c.Pending != 2 {
		t.Errorf("with one that was put off: %+v", c)
	}
}
