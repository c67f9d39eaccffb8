package schedule

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func TestTurn(t *testing.T) {
	tests := map[string]struct {
		cron, due, now string
		skip           bool
		want           Turn
	}{
		"on time":                       {"0 * * * *", "10:00:00", "10:00:00.2", false, Turn{true, at(t, "2026-01-01T11:00:00Z")}},
		"by a clock that is behind":     {"0 * * * *", "10:00:00", "09:59:59", false, Turn{true, at(t, "2026-01-01T11:00:00Z")}},
		"a minute after":                {"0 * * * *", "10:00:00", "10:01:00", true, Turn{true, at(t, "2026-01-01T11:00:00Z")}},
		"late":                          {"0 * * * *", "10:00:00", "10:01:01", false, Turn{true, at(t, "2026-01-01T11:00:00Z")}},
		"late, and skipped":             {"0 * * * *", "10:00:00", "10:01:01", true, Turn{false, at(t, "2026-01-01T11:00:00Z")}},
		"others came":                   {"0 * * * *", "10:00:00", "12:30:00", false, Turn{false, at(t, "2026-01-01T12:00:00Z")}},
		"others came, and are skipped":  {"0 * * * *", "10:00:00", "12:30:00", true, Turn{false, at(t, "2026-01-01T13:00:00Z")}},
		"another came at once":          {"* * * * * *", "10:00:00", "10:00:05.5", false, Turn{true, at(t, "2026-01-01T10:00:06Z")}},
		"one came, but not much later":  {"0,30 0 10 * * *", "10:00:00", "10:05:00", false, Turn{true, at(t, "2026-01-01T10:00:30Z").Add(24*time.Hour - 30*time.Second)}},
		"an interval, others came":      {"@every 50m", "10:00:00", "12:00:00", false, Turn{false, at(t, "2026-01-01T11:40:00Z")}},
		"an interval, they are skipped": {"@every 50m", "10:00:00", "12:00:00", true, Turn{false, at(t, "2026-01-01T12:30:00Z")}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := parse(t, test.cron, "")
			got := s.Turn(at(t, "2026-01-01T"+test.due+"Z"), at(t, "2026-01-01T"+test.now+"Z"), test.skip)
			if got.Call != test.want.Call || !got.Next.Equal(test.want.Next) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestTurns plays a schedule whose times are taken up when somebody happens to be
// there, in one hand. Each is called for on time, or merged into one that is.
func TestTurns(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		s := parse(t, []string{"* * * * *", "*/7 * * * *", "*/5 * * * * *", "30 1 * * *", "0,1 0 2 * * *", "@every 90s", "@every 1s"}[r.IntN(7)], zones[r.IntN(len(zones))].name)
		skip := r.IntN(2) == 0
		now := at(t, "2026-03-28T00:00:00Z").Add(time.Duration(r.Int64N(int64(48 * time.Hour))))
		clock, last := s.First(now), time.Time{}
		for range 40 {
			pause := time.Duration(r.Int64N(int64([]time.Duration{time.Second, 90 * time.Second, 3 * time.Hour}[r.IntN(3)])))
			due := clock
			if now.Before(due) {
				now = due
			}
			now = now.Add(pause)
			turn := s.Turn(due, now, skip)
			switch {
			case !due.After(last):
				t.Fatalf("seed %d: %v has its turn after %v", seed, due, last)
			case skip && !turn.Next.After(now):
				t.Fatalf("seed %d: %v is set, which has passed", seed, turn.Next)
			case skip && turn.Call != (now.Sub(due) <= Late):
				t.Fatalf("seed %d: called is %t %v after its time", seed, turn.Call, now.Sub(due))
			case !turn.Next.After(due):
				t.Fatalf("seed %d: after %v comes %v", seed, due, turn.Next)
			case !skip && !turn.Call && (turn.Next.After(now) || !s.After(due, now).After(turn.Next)):
				t.Fatalf("seed %d: %v is left out at %v for %v, which is not the latest", seed, due, now, turn.Next)
			case !skip && !turn.Call && !s.Turn(turn.Next, now, false).Call:
				t.Fatalf("seed %d: at %v neither %v nor the latest is called for", seed, now, due)
			}
			clock, last = turn.Next, due
		}
	}
}

// TestStands has a time that was put off give way to the one that the clock was
// set to when it was taken up, and never before that one.
func TestStands(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := parse(t, []string{"* * * * *", "0,1 0 10 * * *", "*/40 * * * * *", "@every 61s"}[r.IntN(4)], "")
		due := s.First(at(t, "2026-01-01T00:00:00Z").Add(time.Duration(r.Int64N(int64(24 * time.Hour)))))
		taken := due.Add(time.Duration(r.Int64N(int64(2 * time.Minute))))
		turn := s.Turn(due, taken, false)
		if !turn.Call {
			continue
		}
		if !s.Stands(due, turn.Next.Add(-time.Nanosecond), false) {
			t.Errorf("seed %d: %v gives way before %v has come", seed, due, turn.Next)
		}
		if gone := turn.Next.Add(2 * 24 * time.Hour); s.Stands(due, gone, false) {
			t.Errorf("seed %d: %v stands at %v", seed, due, gone)
		}
	}
}

func TestClockIsTheEvent(t *testing.T) {
	f := names.Function{Namespace: "coop", Name: "offers"}
	due := at(t, "2026-03-29T01:00:00Z")
	for name, spec := range map[string]Spec{"cron": parse(t, "30 1 * * *", "Europe/London").Spec, "interval": parse(t, "@every 90s", "").Spec} {
		t.Run(name, func(t *testing.T) {
			m := Clock(f, "expire", Fired{spec, due.In(time.FixedZone("", 3600)), 7})
			if m.Subject != "worksched.coop.clock.offers.expire" || m.Header.Get("Nats-Schedule-Target") != "work.coop.cron.offers.expire.tick" ||
				m.Header.Get("Nats-Schedule") != "@at 2026-03-29T01:00:00Z" {
				t.Errorf("%s: %v", m.Subject, m.Header)
			}
			e := event.FromStored(m.Header, m.Body)
			if err := e.Validate(); err != nil {
				t.Error(err)
			}
			if e.Type() != EventType || e.Source() != "/functions/offers/triggers/expire" || e.ID() != "2026-03-29T01:00:00Z" || e.Get("time") != e.ID() {
				t.Errorf("%+v", e.Attributes)
			}
			if fired, err := Read(m); err != nil || fired != (Fired{spec, due, 7}) {
				t.Errorf("%+v, %v", fired, err)
			}
			schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "..", "docs", "schemas", EventType+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var data map[string]any
			if err := json.Unmarshal(e.Data, &data); err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(data); err != nil {
				t.Error(err)
			}
			data["scheduled"] = "tomorrow"
			if schema.Validate(data) == nil {
				t.Error("the schema takes any data")
			}
		})
	}
	if m := Clock(f, "expire", Fired{}); m.Header.Get("Nats-Schedule") != "@at 2200-01-01T00:00:00Z" {
		t.Errorf("set to nothing it is %v", m.Header)
	}
	noise, series := Clock(f, "expire", Fired{}), Clock(f, "expire", Fired{})
	noise.Body = []byte("noise")
	series.Header.Set(headerSeries, "noise")
	for _, m := range []*envelope.Message{noise, series} {
		if _, err := Read(m); err == nil {
			t.Error("noise was read")
		}
	}
}
