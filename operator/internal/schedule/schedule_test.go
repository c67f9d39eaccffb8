package schedule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func parse(t *testing.T, cron, zone string) *Schedule {
	t.Helper()
	s, err := Parse(Spec{cron, zone})
	if err != nil {
		t.Fatalf("%q in %q: %v", cron, zone, err)
	}
	return s
}

// TestTimes has the days on which clocks are put forward and back among others.
func TestTimes(t *testing.T) {
	tests := map[string]struct {
		cron, zone, from string
		want             []string
	}{
		"five fields":               {"30 2 * * *", "", "2026-01-31T12:00:00Z", []string{"2026-02-01T02:30:00Z", "2026-02-02T02:30:00Z"}},
		"six fields":                {"*/20 0 0 1 * *", "", "2026-01-31T12:00:00Z", []string{"2026-02-01T00:00:00Z", "2026-02-01T00:00:20Z", "2026-02-01T00:00:40Z", "2026-03-01T00:00:00Z"}},
		"names":                     {"0 9 * JAN,jul Mon-fri", "", "2026-01-30T12:00:00Z", []string{"2026-07-01T09:00:00Z", "2026-07-02T09:00:00Z", "2026-07-03T09:00:00Z", "2026-07-06T09:00:00Z"}},
		"a day of either kind":      {"0 0 13 * 5", "", "2026-02-12T12:00:00Z", []string{"2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"}},
		"Sunday after a tab":        {" 0 9 * *\t7 ", "", "2026-01-30T12:00:00Z", []string{"2026-02-01T09:00:00Z", "2026-02-08T09:00:00Z"}},
		"Sunday to Sunday":          {"0 9 * * 7-7", "", "2026-01-30T12:00:00Z", []string{"2026-02-01T09:00:00Z", "2026-02-08T09:00:00Z"}},
		"Sunday as 7":               {"0 9 * * 7", "", "2026-01-30T12:00:00Z", []string{"2026-02-01T09:00:00Z", "2026-02-08T09:00:00Z"}},
		"to Sunday":                 {"0  0 9 * * fri-7", "", "2026-01-30T12:00:00Z", []string{"2026-01-31T09:00:00Z", "2026-02-01T09:00:00Z", "2026-02-06T09:00:00Z"}},
		"from Sunday to Sunday":     {"0 9 * * 0-7", "", "2026-01-30T12:00:00Z", []string{"2026-01-31T09:00:00Z", "2026-02-01T09:00:00Z", "2026-02-02T09:00:00Z"}},
		"Sunday among others":       {"7 9 7 7 3,7", "", "2026-07-01T12:00:00Z", []string{"2026-07-05T09:07:00Z", "2026-07-07T09:07:00Z", "2026-07-08T09:07:00Z"}},
		"leap day":                  {"0 0 29 2 *", "", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		"in a zone":                 {"0 9 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", []string{"2026-01-01T03:15:00Z", "2026-01-02T03:15:00Z"}},
		"through the summer":        {"0 9 1 * *", "Europe/London", "2026-02-15T00:00:00Z", []string{"2026-03-01T09:00:00Z", "2026-04-01T08:00:00Z"}},
		"left out":                  {"30 1 * * *", "Europe/London", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"twice":                     {"30 1 * * *", "Europe/London", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"left out, and the next":    {"*/20 1,2 * * *", "Europe/London", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z", "2026-03-29T01:40:00Z", "2026-03-30T00:00:00Z"}},
		"after the first of two":    {"30,59 1 * * *", "Europe/London", "2026-10-25T00:45:00Z", []string{"2026-10-25T00:59:00Z", "2026-10-26T01:30:00Z"}},
		"in the second of two":      {"30 1,2 * * *", "Europe/London", "2026-10-25T01:10:00Z", []string{"2026-10-25T02:30:00Z", "2026-10-26T01:30:00Z"}},
		"every hour, forward":       {"30 * * * *", "Europe/London", "2026-03-29T00:00:00Z", []string{"2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"}},
		"every hour, back":          {"30 * * * *", "Europe/London", "2026-10-25T00:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		"midnight is left out":      {"0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"}},
		"a day from its first hour": {"0 * 24 4 *", "Africa/Cairo", "2026-04-20T00:00:00Z", []string{"2026-04-23T22:00:00Z", "2026-04-23T23:00:00Z"}},
		"half an hour back":         {"45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", []string{"2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "2026-04-04T16:15:00Z"}},
		"a day is left out":         {"0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", []string{"2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
		"an interval":               {"@every 90s", "", "2026-01-01T00:00:00.6Z", []string{"2026-01-01T00:01:30Z", "2026-01-01T00:03:00Z"}},
		"an odd interval":           {"@every 1h0m1.5s", "", "2026-01-01T00:00:00Z", []string{"2026-01-01T01:00:01.5Z", "2026-01-01T02:00:03Z"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, from := parse(t, test.cron, test.zone), at(t, test.from)
			var got []string
			for due := s.First(from); len(got) < len(test.want); due = s.After(due, due) {
				got = append(got, due.UTC().Format(time.RFC3339Nano))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	tests := map[string]struct{ cron, zone, want string }{
		"a day that is not":    {"0 0 30 2 *", "", "never fires"},
		"another":              {"0 0 31 4,6,9,11 *", "Europe/London", "never fires"},
		"four fields":          {"0 0 * *", "", "fields"},
		"seven fields":         {"0 0 0 * * * *", "", "fields"},
		"nothing":              {"", "", "empty"},
		"minute 60":            {"60 0 * * *", "", "above maximum (59): 60"},
		"day 8":                {"0 0 * * 8", "", "above maximum (6): 8"},
		"a step to Sunday":     {"0 0 * * 1-7/2", "", "above maximum (6): 1-7/2"},
		"a step from Sunday":   {"0 0 * * 7/2", "", "beyond end of range (6): 7/2"},
		"a month as 7 of four": {"0 0 * 7", "", "fields"},
		"a month of no name":   {"0 0 1 Foo *", "", "Foo"},
		"a range backwards":    {"0 5-3 * * *", "", "beyond end of range"},
		"step 0":               {"*/0 * * * *", "", "step"},
		"no seconds":           {", 0 0 * * *", "", "never fires"},
		"no minutes":           {", 0 * * *", "", "never fires"},
		"a descriptor":         {"@daily", "", "@daily"},
		"a zone in front":      {"TZ=Europe/London 0 0 * * *", "", "="},
		"nothing but a zone":   {"TZ=UTC", "", "="},
		"an interval of none":  {"@every soon", "", `"soon" is not a duration`},
		"half a second":        {"@every 500ms", "", "shorter than 1s"},
		"an interval of minus": {"@every -1h", "", "shorter than 1s"},
		"no such zone":         {"0 0 * * *", "Europe/Londn", `unknown time zone "Europe/Londn"`},
		"the machine's zone":   {"0 0 * * *", "Local", `unknown time zone "Local"`},
		"a path":               {"0 0 * * *", "../etc/passwd", "unknown time zone"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := Parse(Spec{test.cron, test.zone})
			if err == nil || s != nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, %v, want %q", s, err, test.want)
			}
			if errors.Is(err, ErrTimeZone) != strings.Contains(test.want, "time zone") {
				t.Errorf("%v is of the time zone: %t", err, errors.Is(err, ErrTimeZone))
			}
		})
	}
}

// TestNever has the schedule of what could not be read.
func TestNever(t *testing.T) {
	s, now := &Schedule{}, at(t, "2026-01-01T00:00:00Z")
	if first := s.First(now); !first.IsZero() {
		t.Errorf("first %v", first)
	}
	if turn := s.Turn(now, now.Add(time.Hour), false); turn != (Turn{Call: true}) {
		t.Errorf("%+v", turn)
	}
}

func TestString(t *testing.T) {
	for spec, want := range map[Spec]string{
		{"0 2 * * *", ""}: "0 2 * * * UTC", {"0 2 * * *", "Asia/Tokyo"}: "0 2 * * * Asia/Tokyo", {"@every 1m", "UTC"}: "@every 1m",
	} {
		if got := spec.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// zones have clocks that are put forward and back in every way: by an hour, half
// an hour, two, a day; at night, at midnight; never.
var zones = []struct{ name, around string }{
	{"UTC", "2026-03-29"}, {"Europe/London", "2026-03-28"}, {"Europe/London", "2026-10-24"}, {"America/New_York", "2026-03-07"},
	{"America/New_York", "2026-10-31"}, {"Africa/Cairo", "2026-04-23"}, {"Africa/Cairo", "2026-10-29"}, {"Australia/Lord_Howe", "2026-04-04"},
	{"Australia/Lord_Howe", "2026-10-03"}, {"Pacific/Apia", "2011-12-29"}, {"America/Havana", "2026-03-07"}, {"America/Sao_Paulo", "2018-11-03"},
	{"America/Sao_Paulo", "2018-02-17"}, {"Antarctica/Troll", "2026-03-28"}, {"Antarctica/Troll", "2026-10-24"}, {"Africa/Casablanca", "2026-02-14"},
}

// set is a field of a cron: some numbers of a range, or "*".
func set(r *rand.Rand, low, high int, star bool) (field string, has func(int) bool) {
	if star {
		return "*", func(int) bool { return true }
	}
	var numbers []int
	var words []string
	for range 1 + r.IntN(3) {
		n := low + r.IntN(high-low+1)
		numbers, words = append(numbers, n), append(words, fmt.Sprint(n))
	}
	return strings.Join(words, ","), func(n int) bool { return slices.Contains(numbers, n) }
}

// TestTimesAreThoseOfTheClock compares with a clock that is looked at each minute
// of four days: a cron of every hour is due when it shows its minute, one that
// names hours when the clock first shows or passes each of its times.
func TestTimesAreThoseOfTheClock(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		pick := zones[r.IntN(len(zones))]
		zone, err := time.LoadLocation(pick.name)
		if err != nil {
			t.Fatal(err)
		}
		everyHour := r.IntN(3) == 0
		minute, isMinute := set(r, 0, 59, r.IntN(8) == 0)
		hour, isHour := set(r, 0, 3, everyHour)
		weekday, isWeekday := set(r, 0, 6, r.IntN(2) == 0)
		cron := fmt.Sprintf("%s %s * * %s", minute, hour, weekday)
		matches := func(wall time.Time) bool {
			return isMinute(wall.Minute()) && isHour(wall.Hour()) && isWeekday(int(wall.Weekday()))
		}

		start := at(t, pick.around+"T00:00:00Z")
		var want []time.Time
		shown := clock(start.Add(-time.Minute).In(zone)) // the latest that the clock has shown
		for now := start; now.Before(start.Add(96 * time.Hour)); now = now.Add(time.Minute) {
			wall, due := clock(now.In(zone)), false
			if everyHour {
				due = matches(wall)
			} else {
				for ; shown.Before(wall); due = due || matches(shown) {
					shown = shown.Add(time.Minute)
				}
			}
			if due {
				want = append(want, now)
			}
		}

		s, from := parse(t, cron, pick.name), start.Add(-time.Nanosecond)
		var got []time.Time
		for due := s.First(from); !due.IsZero() && due.Before(start.Add(96*time.Hour)); due = s.After(due, due) {
			got = append(got, due)
		}
		if !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Fatalf("seed %d: %q in %s from %v:\ngot  %v\nwant %v", seed, cron, pick.name, start, got, want)
		}
		for range 20 { // the same from anywhere
			checkAround(t, s, got, start.Add(time.Duration(r.Int64N(int64(96*time.Hour)))))
		}
	}
}

// checkAround compares Latest and After with all times of a schedule.
func checkAround(t *testing.T, s *Schedule, times []time.Time, now time.Time) {
	t.Helper()
	n, here := slices.BinarySearchFunc(times, now, time.Time.Compare)
	if here {
		n++
	}
	if n == 0 || n == len(times) {
		return
	}
	for _, due := range []time.Time{times[0], times[n-1]} {
		if got := s.Latest(due, now); !got.Equal(times[n-1]) {
			t.Fatalf("%v: the latest at %v is %v, want %v", s.Spec, now, got, times[n-1])
		}
	}
	if got := s.After(times[0], now); !got.Equal(times[n]) {
		t.Fatalf("%v: after %v is %v, want %v", s.Spec, now, got, times[n])
	}
}

func TestIntervalKeepsItsStep(t *testing.T) {
	s, due := parse(t, "@every 7m", ""), at(t, "2026-01-01T00:00:00Z")
	now := due.Add(50 * time.Minute)
	if got := s.Latest(due, now); !got.Equal(due.Add(49 * time.Minute)) {
		t.Errorf("latest %v", got)
	}
	if got := s.After(due, now); !got.Equal(due.Add(56 * time.Minute)) {
		t.Errorf("after %v", got)
	}
}
