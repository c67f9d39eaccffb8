package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/schedule"
)

func onSchedule(cron string, change ...func(*v1alpha1.Trigger)) v1alpha1.Trigger {
	t := v1alpha1.Trigger{Name: "expire", Path: "/expire", Schedule: &v1alpha1.ScheduleSource{Cron: cron}, Delivery: quick()}
	for _, c := range change {
		c(&t)
	}
	return t
}

func skip(t *v1alpha1.Trigger)    { t.Schedule.Missed = v1alpha1.MissedSkip }
func overlap(t *v1alpha1.Trigger) { t.Schedule.Overlap = true }

// far is a schedule whose times do not come while a test runs.
const far = "0 0 1 1 *"

// come stores a time of the trigger expire as the server does when it has come.
func (r *rig) come(cron string, due time.Time) {
	r.t.Helper()
	m := schedule.Clock(offers, "expire", schedule.Fired{Spec: schedule.Spec{Cron: cron, TimeZone: "UTC"}, Scheduled: due})
	m.Subject = names.Tick(offers, "expire")
	delete(m.Header, "Nats-Schedule")
	delete(m.Header, "Nats-Schedule-Target")
	r.store(m)
}

// clock is what the clock of the trigger expire is set to; zero: there is none.
func (r *rig) clock() schedule.Fired {
	r.t.Helper()
	m, err := r.bus.Last(r.t.Context(), names.Work(shop), names.Clock(offers, "expire"))
	if errors.Is(err, bus.ErrNotFound) {
		return schedule.Fired{}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	fired, err := schedule.Read(m)
	if err != nil {
		r.t.Fatal(err)
	}
	return fired
}

// unset removes the clock, as its time that comes does.
func (r *rig) unset() {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), names.Work(shop))
	if err == nil {
		err = s.Purge(r.t.Context(), jetstream.WithPurgeSubject(names.Clock(offers, "expire")))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// quiet waits until nothing of the trigger expire waits or is at work.
func (r *rig) quiet() {
	r.t.Helper()
	eventually(r.t, "nothing waits", func() bool {
		s, err := r.layout.Survey(r.t.Context(), shop, r.snapshot.Load(), time.Now())
		state := s.Triggers["WORK_shop/offers_expire"]
		return err == nil && state.Pending+state.InFlight == 0
	})
}

// scheduled are the times that the function was called for.
func (r *rig) scheduled() (out []time.Time) {
	r.t.Helper()
	for _, c := range r.function.calls() {
		var fired schedule.Fired
		if err := json.Unmarshal([]byte(c.body), &fired); err != nil {
			r.t.Fatal(err)
		}
		out = append(out, fired.Scheduled)
	}
	return out
}

// TestScheduleCalls has a schedule call its function time after time, with an
// event of each, never early.
func TestScheduleCalls(t *testing.T) {
	const want = 3
	var early atomic.Int64
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		due, err := time.Parse(time.RFC3339, q.Header.Get("Ce-Time"))
		if err != nil || time.Now().Before(due) {
			early.Add(1)
		}
	}, []v1alpha1.Trigger{onSchedule("@every 1s")})
	eventually(t, "it is called", func() bool { return len(r.function.calls()) >= want })
	if n := early.Load(); n > 0 {
		t.Errorf("%d calls were early", n)
	}
	seen := map[string]bool{}
	for i, c := range r.function.calls() {
		id, due := c.header.Get("Ce-Id"), r.scheduled()[i]
		if c.method != "POST" || c.target != "/expire" || c.header.Get("Ce-Type") != schedule.EventType || c.header.Get("Ce-Source") != "/functions/offers/triggers/expire" ||
			c.header.Get("Content-Type") != "application/json" || c.header.Get("Serviceful-Trigger") != "expire" || c.header.Get("Serviceful-Attempt") != "1" {
			t.Errorf("%+v", c)
		}
		if seen[id] || id != due.Format(time.RFC3339) || c.header.Get("Ce-Time") != id {
			t.Errorf("a time of %v has the id %q", due, id)
		}
		seen[id] = true
	}
}

func TestTurns(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	minutes := now.Truncate(time.Minute)
	const each = "* * * * *"
	tests := map[string]struct {
		trigger v1alpha1.Trigger
		due     time.Time
		called  []time.Time
		clock   time.Time // what it is set to at the end, but for what time passes meanwhile
	}{
		"just now":              {onSchedule(far), now, []time.Time{now}, newYear(now)},
		"late":                  {onSchedule(far), now.Add(-time.Hour), []time.Time{now.Add(-time.Hour)}, newYear(now)},
		"late, and skipped":     {onSchedule(far, skip), now.Add(-time.Hour), nil, newYear(now)},
		"late, and others came": {onSchedule(each), minutes.Add(-time.Hour), []time.Time{minutes}, minutes.Add(time.Minute)},
		"all of them skipped":   {onSchedule(each, skip), minutes.Add(-time.Hour), nil, minutes.Add(time.Minute)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, status(200), []v1alpha1.Trigger{test.trigger})
			r.unset()
			r.come(test.trigger.Schedule.Cron, test.due)
			eventually(t, "the clock is set", func() bool { return r.clock().Scheduled.After(now) })
			r.quiet()
			got, clock := r.scheduled(), r.clock().Scheduled
			passed := clock.Sub(test.clock)
			if passed < 0 || passed > 0 && test.trigger.Schedule.Cron == far {
				t.Errorf("the clock is set to %v, want %v", clock, test.clock)
			}
			if len(got) < len(test.called) || passed == 0 && len(got) != len(test.called) {
				t.Fatalf("called for %v, want %v", got, test.called)
			}
			for i, want := range test.called {
				if !got[i].Equal(want) && passed == 0 {
					t.Errorf("called for %v, want %v", got[i], want)
				}
			}
		})
	}
}

func newYear(now time.Time) time.Time { return time.Date(now.Year()+1, 1, 1, 0, 0, 0, 0, time.UTC) }

// TestClockIsNotSetBack has a time of a schedule that was changed be called for,
// and the clock of the new one stay as it is.
func TestClockIsNotSetBack(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onSchedule(far)})
	before := r.clock()
	r.come("@every 1s", time.Now().UTC())
	eventually(t, "it is called", func() bool { return len(r.function.calls()) == 1 })
	r.quiet()
	if after := r.clock(); after != before {
		t.Errorf("the clock was %+v and is %+v", before, after)
	}
}

// TestNoOverlap has a time that comes during a call wait for its end.
func TestNoOverlap(t *testing.T) {
	tests := map[string]struct {
		trigger v1alpha1.Trigger
		most    int64
	}{"one at a time": {onSchedule(far), 1}, "together": {onSchedule(far, overlap), 2}}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var running, most atomic.Int64
			second := make(chan struct{})
			r := newRig(t, func(http.ResponseWriter, *http.Request) {
				n := running.Add(1)
				defer running.Add(-1)
				most.Store(max(n, most.Load()))
				if test.most == 2 { // both wait until both are there
					if n == 2 {
						close(second)
					}
					<-second
				}
			}, []v1alpha1.Trigger{test.trigger})
			now := time.Now().UTC()
			r.come(far, now)
			r.come(far, now.Add(time.Millisecond))
			eventually(t, "both are called", func() bool { return len(r.function.calls()) == 2 })
			r.quiet()
			if most.Load() != test.most {
				t.Errorf("%d calls at once, want %d", most.Load(), test.most)
			}
		})
	}
}

// TestScheduleRetries has the calls for a time be of the same event, and so is its
// dead letter, which is called for again however long ago it was due.
func TestScheduleRetries(t *testing.T) {
	r := newRig(t, status(500), []v1alpha1.Trigger{onSchedule(far, skip)})
	due := time.Now().UTC()
	r.come(far, due)
	letter := func() *envelope.Message {
		m, err := r.bus.Last(t.Context(), names.Dead(shop), names.DeadSubject(offers, "expire"))
		if err != nil {
			return nil
		}
		return m
	}
	eventually(t, "it is dead", func() bool { return letter() != nil })
	calls, m := r.function.calls(), letter()
	d, body, err := m.DeadLetter()
	if err != nil || len(calls) != 3 || d.Attempts != 3 || m.Header.Get("ce-id") != due.Format(time.RFC3339Nano) {
		t.Fatalf("%d calls, %+v, %v", len(calls), d, err)
	}
	for i, c := range calls {
		if c.header.Get("Ce-Id") != m.Header.Get("ce-id") || c.body != string(body) || c.header.Get("Serviceful-Attempt") != []string{"1", "2", "3"}[i] {
			t.Errorf("call %d is of %s: %s", i+1, c.header.Get("Ce-Id"), c.body)
		}
	}
	old := schedule.Clock(offers, "expire", schedule.Fired{Spec: schedule.Spec{Cron: far, TimeZone: "UTC"}, Scheduled: due.Add(-48 * time.Hour)})
	old.Sequence, old.Header = 7, m.Header
	var fired schedule.Fired
	if err := json.Unmarshal(body, &fired); err != nil {
		t.Fatal(err)
	}
	fired.Scheduled = fired.Scheduled.Add(-48 * time.Hour)
	if body, err = json.Marshal(fired); err != nil {
		t.Fatal(err)
	}
	r.store(envelope.Replay(old, d, body, names.Again(d.Subject, offers, "expire", d.Origin), time.Now()))
	eventually(t, "it is called again", func() bool { return len(r.function.calls()) > 3 })
}

// TestTimesGiveWay has the times that come while the function cannot be started
// become one call.
func TestTimesGiveWay(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	r := newRig(t, status(200), []v1alpha1.Trigger{onSchedule("* * * * *")}, func(r *rig) {
		acquire := r.world.acquire
		r.world.acquire = func(ctx context.Context) (string, error) {
			if broken.Load() {
				return "", errors.New("it does not start")
			}
			return acquire(ctx)
		}
	})
	minute := time.Now().UTC().Truncate(time.Minute)
	p := envelope.Progress{Tries: 1, Origin: "1", First: time.Now()}
	for i := range 20 { // as if each had been taken up in its time, and put off
		m := schedule.Clock(offers, "expire", schedule.Fired{Spec: schedule.Spec{Cron: "* * * * *", TimeZone: "UTC"}, Scheduled: minute.Add(-time.Duration(i) * time.Minute)})
		p.Origin = string(rune('a' + i))
		again := envelope.Retry(m, names.Again(names.Tick(offers, "expire"), offers, "expire", p.Origin), p, time.Now())
		r.store(again)
	}
	eventually(t, "most are gone", func() bool {
		s, err := r.layout.Survey(t.Context(), shop, r.snapshot.Load(), time.Now())
		state := s.Triggers["WORK_shop/offers_expire"]
		return err == nil && state.Pending+state.InFlight <= 2
	})
	broken.Store(false)
	eventually(t, "it is called", func() bool { return len(r.function.calls()) > 0 })
	r.quiet()
	for _, due := range r.scheduled() {
		if due.Before(minute.Add(-2 * time.Minute)) {
			t.Errorf("it is called for %v at %v", due, time.Now())
		}
	}
}

// TestSlowStartMissesItsTime has a time be skipped whose function took too long to
// start.
func TestSlowStartMissesItsTime(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onSchedule(far, skip)}, func(r *rig) {
		acquire := r.world.acquire
		r.world.acquire = func(ctx context.Context) (string, error) {
			select {
			case <-time.After(3 * time.Second): // by when its minute is over
			case <-ctx.Done():
			}
			return acquire(ctx)
		}
	})
	r.come(far, time.Now().UTC().Add(-schedule.Late+2*time.Second))
	r.quiet()
	if n := len(r.function.calls()); n > 0 {
		t.Errorf("%d calls", n)
	}
}

// TestUnreadableTime has a time that cannot be read be dead.
func TestUnreadableTime(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onSchedule(far)})
	for _, body := range []string{"noise", `{"cron":"noise","timeZone":"UTC","scheduled":"2026-01-01T00:00:00Z"}`} {
		r.store(envelope.New(names.Tick(offers, "expire"), []byte(body)))
	}
	eventually(t, "they are dead", func() bool {
		s, err := r.layout.Survey(t.Context(), shop, r.snapshot.Load(), time.Now())
		return err == nil && s.Dead[bus.DeadKey{Function: offers, Trigger: "expire"}] == 2
	})
}
