package wiring

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

func onSchedule(name, cron string, change ...func(*v1alpha1.Trigger)) v1alpha1.Trigger {
	t := v1alpha1.Trigger{Name: name, Schedule: &v1alpha1.ScheduleSource{Cron: cron}}
	for _, c := range change {
		c(&t)
	}
	return t
}

func TestSchedules(t *testing.T) {
	f := fn("coop/offers", 1,
		onSchedule("expire", "30 2 * * *", func(t *v1alpha1.Trigger) { t.Schedule.TimeZone, t.Path = "Europe/London", "/expire" }),
		onSchedule("poll", "@every 90s", func(t *v1alpha1.Trigger) {
			t.Schedule.Missed, t.Schedule.Overlap, t.Paused = v1alpha1.MissedSkip, true, true
			t.Delivery = &v1alpha1.Delivery{Concurrency: ptr[int32](7), Retry: ptr[int32](0)}
		}))
	s := Compile([]v1alpha1.Function{f}, laptop)
	if len(s.Problems) > 0 {
		t.Fatal(s.Problems)
	}
	expire, poll := subscription(t, s, "WORK_coop/offers_expire"), subscription(t, s, "WORK_coop/offers_poll")
	if expire.Path != "/expire" || expire.Concurrency != 1 || expire.SkipMissed || expire.Paused || expire.Held ||
		!slices.Equal(expire.Filters, []string{"work.coop.cron.offers.expire.*"}) || expire.Schedule.String() != "30 2 * * * Europe/London" {
		t.Errorf("%+v", expire)
	}
	if poll.Path != "/" || poll.Concurrency != 7 || !poll.SkipMissed || !poll.Paused || poll.Policy.Retry != 0 || poll.Schedule.String() != "@every 90s" {
		t.Errorf("%+v", poll)
	}
}

// TestInvalidSchedules has a schedule that cannot be read keep what it has, and its
// function's other triggers work.
func TestInvalidSchedules(t *testing.T) {
	tests := map[string]struct{ cron, zone, field, message string }{
		"never fires":      {"0 0 30 2 *", "", "spec.triggers[1].schedule.cron", `it does not fire until its schedule is mended: cron "0 0 30 2 *": it never fires: no date is like that`},
		"not a cron":       {"0 25 * * *", "", "spec.triggers[1].schedule.cron", `end of range (25) above maximum (23): 25`},
		"an unknown zone":  {"0 0 * * *", "Europe/Londn", "spec.triggers[1].schedule.timeZone", `unknown time zone "Europe/Londn": it must be an IANA name such as Europe/London`},
		"both, cron first": {"0 0 31 2 *", "Europe/Londn", "spec.triggers[1].schedule.cron", "no date is like that"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := fn("coop/offers", 1, onSchedule("good", "* * * * *"), onSchedule("bad", test.cron, func(t *v1alpha1.Trigger) { t.Schedule.TimeZone = test.zone }), onEvent("e", "a"))
			s := Compile([]v1alpha1.Function{f}, laptop)
			if len(s.Problems) != 1 {
				t.Fatalf("problems %v", s.Problems)
			}
			p := s.Problems[0]
			if p.Trigger != "bad" || p.Field != test.field || p.Reason != v1alpha1.ReasonInvalidSchedule || !strings.HasSuffix(p.Message, test.message) {
				t.Errorf("%+v", p)
			}
			bad, good := subscription(t, s, "WORK_coop/offers_bad"), subscription(t, s, "WORK_coop/offers_good")
			if !bad.Held || !bad.Schedule.First(time.Now()).IsZero() {
				t.Errorf("%+v is due", bad.Schedule)
			}
			if good.Held || good.Schedule.First(time.Now()).IsZero() || subscription(t, s, "EV_coop/offers_e").Held {
				t.Error("the others are held")
			}
		})
	}
}
