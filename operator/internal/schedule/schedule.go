package schedule

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // for machines and images without time zones
	"unicode"

	"github.com/robfig/cron/v3"
)

// MinEvery is the shortest interval of "@every".
const MinEvery = time.Second

// Spec is a schedule as its trigger says it.
type Spec struct {
	Cron     string `json:"cron"`     // five fields, six with the second first, or "@every <duration>"
	TimeZone string `json:"timeZone"` // an IANA name; to Parse, "" is UTC
}

// String is the schedule in one line.
func (s Spec) String() string {
	if strings.HasPrefix(s.Cron, "@") {
		return s.Cron
	}
	return s.Cron + " " + cmp.Or(s.TimeZone, "UTC")
}

// Schedule is when a trigger is due. The zero Schedule is never due.
type Schedule struct {
	Spec
	every  time.Duration      // of "@every"; else 0
	fields *cron.SpecSchedule // on a clock without time zones; nil: never
	zone   *time.Location
}

// ErrTimeZone is wrapped by the error of Parse that is about the time zone; every
// other one is about cron.
var ErrTimeZone = errors.New("unknown time zone")

var parser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// Parse reads a schedule. Its errors are sentences for a person. A cron that can
// never be due is refused.
func Parse(spec Spec) (*Schedule, error) {
	s := &Schedule{Spec: Spec{spec.Cron, cmp.Or(spec.TimeZone, "UTC")}}
	if interval, ok := strings.CutPrefix(spec.Cron, "@every "); ok {
		return s.parseEvery(interval)
	}
	if strings.ContainsRune(spec.Cron, '=') { // the parser takes "TZ=..." in front, and panics on a part of it
		return nil, errors.New("it holds a character that no field has: =")
	}
	parsed, err := parser.Parse(withSunday(spec.Cron))
	if err != nil {
		return nil, err
	}
	s.fields = parsed.(*cron.SpecSchedule)
	s.fields.Location = time.UTC
	if s.fields.Second == 0 || s.fields.Minute == 0 || s.fields.Next(anyYear).IsZero() {
		return nil, errors.New("it never fires: no date is like that")
	}
	if s.zone, err = time.LoadLocation(s.TimeZone); err != nil || s.TimeZone == "Local" {
		return nil, fmt.Errorf("%w %q: it must be an IANA name such as Europe/London", ErrTimeZone, s.TimeZone)
	}
	return s, nil
}

// withSunday is a cron with 0 for Sunday where it is 7, which the parser does not
// know: alone, in a list, or at the end of a range.
func withSunday(cron string) string {
	cron = strings.TrimSpace(cron)
	last := strings.LastIndexFunc(cron, unicode.IsSpace) + 1
	days := strings.Split(cron[last:], ",")
	for i, day := range days {
		if from, ok := strings.CutSuffix(day, "-7"); ok && from != "7" {
			days[i] = from + "-6,0"
		} else if ok || day == "7" {
			days[i] = "0"
		}
	}
	return cron[:last] + strings.Join(days, ",")
}

// anyYear is where looking for a date begins: in the years that follow, every
// date there is comes.
var anyYear = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *Schedule) parseEvery(interval string) (*Schedule, error) {
	var err error
	if s.every, err = time.ParseDuration(interval); err != nil {
		return nil, fmt.Errorf("%q is not a duration such as 90s", interval)
	}
	if s.every < MinEvery {
		return nil, fmt.Errorf("%s is shorter than %s", s.every, MinEvery)
	}
	return s, nil
}

// First is the first time of a schedule that is set at now; the zero time: none.
func (s *Schedule) First(now time.Time) time.Time {
	return s.After(now.UTC().Truncate(time.Second), now)
}

// After is the first time later than now; the zero time: none. due is one of its
// times, no later than now: "@every" counts from it.
func (s *Schedule) After(due, now time.Time) time.Time {
	switch {
	case s.every > 0:
		return due.Add((now.Sub(due)/s.every + 1) * s.every)
	case s.fields == nil:
		return time.Time{}
	}
	return s.next(now)
}

// Latest is the latest time no later than now. due is one of its times, no later
// than now.
func (s *Schedule) Latest(due, now time.Time) time.Time {
	if s.every > 0 {
		return due.Add(now.Sub(due) / s.every * s.every)
	}
	// The times are whole seconds: it is the first second after which the next
	// time lies beyond now.
	low, high := int64(0), int64(now.Sub(due)/time.Second)
	for low < high {
		middle := (low + high) / 2
		if next := s.After(due, due.Add(time.Duration(middle)*time.Second)); next.IsZero() || next.After(now) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return due.Add(time.Duration(low) * time.Second)
}
