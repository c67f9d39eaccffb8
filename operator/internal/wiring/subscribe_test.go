package wiring

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func namesFunction(namespace, name string) names.Function {
	return names.Function{Namespace: namespace, Name: name}
}

func ptr[T any](v T) *T { return &v }

func TestSubscriptions(t *testing.T) {
	posted := onEvent("welcome", "member.joined", "offers.*")
	posted.Path = "/events/joined"
	f := fn("coop/offers", 1, asyncHTTP("redeem", "POST /r"), posted, onEvent("all", "*"), syncHTTP("list", "GET /l"))
	s := Compile([]v1alpha1.Function{f}, laptop)
	want := []Subscription{
		{Trigger: "all", Types: []string{"*"}, Path: "/", Stream: "EV_coop", Consumer: "offers_all", Filters: []string{"ev.coop.>", "evretry.coop.offers.all"}},
		{Trigger: "welcome", Types: []string{"member.joined", "offers.*"}, Path: "/events/joined", Stream: "EV_coop", Consumer: "offers_welcome", Filters: []string{"ev.coop.member.joined", "ev.coop.offers.>", "evretry.coop.offers.welcome"}},
		{Trigger: "redeem", Stream: "WORK_coop", Consumer: "offers_redeem", Filters: []string{"work.coop.call.offers.redeem.*"}},
	}
	triggers := triggersOf(s)
	if len(triggers) != len(want) {
		t.Fatalf("got %d subscriptions, want %d", len(triggers), len(want))
	}
	for i, got := range triggers {
		w := want[i]
		if got.Function != namesFunction("coop", "offers") || got.Trigger != w.Trigger || got.Path != w.Path || got.Stream != w.Stream ||
			got.Consumer != w.Consumer || !slices.Equal(got.Filters, w.Filters) || !slices.Equal(got.Types, w.Types) || got.Match != nil {
			t.Errorf("got %+v, want %+v", got, w)
		}
	}
}

func onQueue(name, queue string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Queue: &v1alpha1.QueueSource{Name: queue}}
}

// TestQueue has a queue's trigger get its messages as events.
func TestQueue(t *testing.T) {
	jobs := onQueue("jobs", "resize")
	jobs.Path, jobs.Paused, jobs.Delivery = "/jobs", true, &v1alpha1.Delivery{Retry: ptr[int32](7), Concurrency: ptr[int32](3)}
	s := Compile([]v1alpha1.Function{fn("coop/offers", 1, jobs)}, laptop)
	got := subscription(t, s, "WORK_coop/offers_jobs")
	if got.Function != namesFunction("coop", "offers") || got.Trigger != "jobs" || got.Queue != "resize" || got.Path != "/jobs" || !got.Paused || got.Held ||
		!slices.Equal(got.Filters, []string{"work.coop.queue.resize.*"}) || got.Concurrency != 3 || got.Policy.Source != delivery.Event || got.Policy.Retry != 7 {
		t.Errorf("got %+v", got)
	}
	if len(s.Problems) > 0 {
		t.Errorf("it has the problems %v", s.Problems)
	}
}

// TestQueueTaken has the oldest trigger keep a queue; everything else of the
// others works.
func TestQueueTaken(t *testing.T) {
	functions := []v1alpha1.Function{
		fn("coop/new", 1, onQueue("jobs", "resize"), onQueue("others", "labels"), syncHTTP("h", "GET /x")),
		fn("coop/old", 2, onQueue("jobs", "resize"), onQueue("again", "resize")),
		fn("shop/other", 1, onQueue("jobs", "resize")),
	}
	for range 2 {
		slices.Reverse(functions) // their order does not matter
		s := Compile(functions, laptop)
		var keys []string
		for _, sub := range triggersOf(s) {
			keys = append(keys, sub.Key())
		}
		if want := []string{"WORK_coop/new_others", "WORK_coop/old_jobs", "WORK_shop/other_jobs"}; !slices.Equal(keys, want) {
			t.Errorf("the subscriptions are %q, want %q", keys, want)
		}
		var problems []string
		for _, p := range s.Problems {
			if p.Reason != v1alpha1.ReasonQueueTaken {
				t.Errorf("the reason is %s", p.Reason)
			}
			problems = append(problems, p.String())
		}
		slices.Sort(problems)
		want := []string{
			`function coop/new, trigger jobs: queue "resize" is taken by trigger "jobs" of function coop/old, which came first`,
			`function coop/old, trigger again: queue "resize" is taken by trigger "jobs" of function coop/old, which came first`,
		}
		if !slices.Equal(problems, want) || answer(s, "GET coop.localhost/x") != "coop/new h" {
			t.Errorf("the problems are %q, want %q, and a route answers for %q", problems, want, answer(s, "GET coop.localhost/x"))
		}
	}
}

func triggersOf(s *Snapshot) (out []*Subscription) {
	for _, sub := range s.Subscriptions {
		if sub.Function.Name != "" {
			out = append(out, sub)
		}
	}
	return out
}

// TestRetries has one relay of retries for each namespace that hears its event log.
func TestRetries(t *testing.T) {
	s := Compile([]v1alpha1.Function{
		fn("coop/a", 1, onEvent("x", "a.b"), onEvent("y", "a.b")), fn("coop/b", 2, onKeys("z", "offers", "")), fn("other/c", 3, asyncHTTP("h", "POST /h")),
	}, laptop)
	var got []string
	for _, sub := range s.Subscriptions {
		if sub.Policy.Source != delivery.DueRetry {
			continue
		}
		got = append(got, sub.Key())
		if !sub.Relays() || sub.RelaysChanges() || !slices.Equal(sub.Filters, []string{"evdue.coop.>"}) || sub.Function != namesFunction("coop", "") || sub.Paused {
			t.Errorf("%+v", sub)
		}
	}
	if !slices.Equal(got, []string{"RETRY_coop/retries"}) {
		t.Errorf("the relays are %q", got)
	}
}

// TestMailRelay has one relay for each namespace, also where no Function may
// mail any more: what was accepted goes out.
func TestMailRelay(t *testing.T) {
	mails := func(id string) v1alpha1.Function {
		f := fn(id, 1)
		f.Spec.Bindings = []v1alpha1.Binding{{Mail: &v1alpha1.MailBinding{}}}
		return f
	}
	s := Compile([]v1alpha1.Function{mails("coop/a"), mails("coop/b"), mails("shop/a"), fn("bare/a", 1)}, laptop)
	var keys []string
	for _, sub := range s.Subscriptions {
		keys = append(keys, sub.Key())
		if sub.Function.Name != "" || sub.Policy.Source != delivery.Mail || sub.Concurrency < 1 ||
			!slices.Equal(sub.Filters, []string{"work." + sub.Function.Namespace + ".mail.>"}) {
			t.Errorf("got %+v", sub)
		}
	}
	if !slices.Equal(keys, []string{"WORK_bare/mail", "WORK_coop/mail", "WORK_shop/mail"}) {
		t.Errorf("the relays are %q", keys)
	}
}

// TestMailOutlivesADay has a mail server away for a day: each mail goes out
// afterwards.
func TestMailOutlivesADay(t *testing.T) {
	due := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for seed := range uint64(50) {
		r, now := rand.New(rand.NewPCG(seed, 0)), due
		m := delivery.Message{Due: due}
		for now.Before(due.Add(24 * time.Hour)) {
			v := delivery.Decide(mailPolicy, m, delivery.Outcome{Called: true, Status: 503, Problem: "away"}, now, r.Float64())
			if v.Action != delivery.Retry {
				t.Fatalf("after %v: %+v", now.Sub(due), v)
			}
			now, m.Attempts, m.Tries = now.Add(v.Delay), v.Attempts, m.Tries+1
		}
	}
}

// TestDistinct has the patterns of random triggers never overlap, and lose
// nothing.
func TestDistinct(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func() string {
		tokens := []string{"a", "b", "a", "*"}[:3+r.IntN(2)]
		r.Shuffle(3, func(i, j int) { tokens[i], tokens[j] = tokens[j], tokens[i] })
		return strings.Join(tokens[r.IntN(len(tokens)):], ".")
	}
	for range 2000 {
		var given []string
		for range 1 + r.IntN(6) {
			given = append(given, random())
		}
		s := Compile([]v1alpha1.Function{fn("coop/f", 1, onEvent("t", given...))}, laptop)
		kept := s.Subscriptions[0].Types
		for i, p := range kept {
			for j, q := range kept {
				if i != j && names.CoversEventPattern(p, q) {
					t.Fatalf("of %q were kept %q: %q covers %q", given, kept, p, q)
				}
			}
		}
		for _, q := range given {
			if !slices.ContainsFunc(kept, func(p string) bool { return names.CoversEventPattern(p, q) }) {
				t.Fatalf("of %q were kept %q: %q is lost", given, kept, q)
			}
		}
	}
}

func TestInvalidFilter(t *testing.T) {
	bad, good := onEvent("bad", "a.b"), onEvent("good", "a.b")
	bad.Event.Filters = []v1alpha1.Filter{{CESQL: "type ="}}
	good.Event.Filters = []v1alpha1.Filter{{Exact: map[string]string{"tier": "gold"}}}
	s := Compile([]v1alpha1.Function{fn("coop/f", 1, bad, good, syncHTTP("h", "GET /x"))}, laptop)
	if len(s.Problems) != 1 || s.Problems[0].Reason != v1alpha1.ReasonInvalidFilter || !strings.HasPrefix(s.Problems[0].String(), "function coop/f, trigger bad: its events wait until its filters are mended: filter 1: ") {
		t.Errorf("got the problems %v", s.Problems)
	}
	triggers := triggersOf(s)
	if len(triggers) != 2 || !triggers[0].Held || triggers[1].Held || answer(s, "GET localhost/x") != "coop/f h" {
		t.Fatalf("the bad one is not held, or the other triggers do not work: %v", triggers)
	}
	e := &event.Event{Attributes: []event.Attribute{{Name: "specversion", Value: "1.0"}, {Name: "id", Value: "1"}, {Name: "source", Value: "/s"}, {Name: "type", Value: "a.b"}}}
	if match := triggers[1].Match; match(e) {
		t.Error("an event passes that should not")
	} else if e.Set("tier", "gold"); !match(e) {
		t.Error("an event does not pass that should")
	}
}

func TestPolicy(t *testing.T) {
	defaults := delivery.Policy{
		Source: delivery.Event, Retry: 4, Delay: time.Second, Timeout: 30 * time.Second, RetryAfterMax: 5 * time.Minute, MaxAge: 6 * time.Hour,
	}
	with := func(change func(*delivery.Policy)) delivery.Policy {
		p := defaults
		change(&p)
		return p
	}
	tests := map[string]struct {
		timeout  time.Duration // of the Function; 0: unset
		delivery *v1alpha1.Delivery
		want     delivery.Policy
	}{
		"defaults":             {0, nil, defaults},
		"nothing set":          {0, &v1alpha1.Delivery{}, defaults},
		"the defaults written": {30 * time.Second, &v1alpha1.Delivery{Retry: ptr[int32](v1alpha1.DefaultRetry), BackoffPolicy: ptr(v1alpha1.DefaultBackoffPolicy), BackoffDelay: ptr(v1alpha1.DefaultBackoffDelay), MaxAge: &metav1.Duration{Duration: v1alpha1.DefaultMaxAge}}, defaults},
		"the Function's time":  {time.Minute, nil, with(func(p *delivery.Policy) { p.Timeout = time.Minute })},
		"the trigger's time":   {time.Minute, &v1alpha1.Delivery{Timeout: ptr("PT0.1S")}, with(func(p *delivery.Policy) { p.Timeout = 100 * time.Millisecond })},
		"no retries":           {0, &v1alpha1.Delivery{Retry: ptr[int32](0)}, with(func(p *delivery.Policy) { p.Retry = 0 })},
		"linear":               {0, &v1alpha1.Delivery{BackoffPolicy: ptr(v1alpha1.BackoffLinear)}, with(func(p *delivery.Policy) { p.Linear = true })},
		"fractions":            {0, &v1alpha1.Delivery{BackoffDelay: ptr("PT0.25S"), Timeout: ptr("PT1.125S")}, with(func(p *delivery.Policy) { p.Delay, p.Timeout = 250*time.Millisecond, 1125*time.Millisecond })},
		"long ones": {0, &v1alpha1.Delivery{BackoffDelay: ptr("PT5M"), Timeout: ptr("PT59M59.5S"), RetryAfterMax: ptr("PT259200S")}, with(func(p *delivery.Policy) {
			p.Delay, p.Timeout, p.RetryAfterMax = 5*time.Minute, time.Hour-500*time.Millisecond, 72*time.Hour
		})},
		"never Retry-After": {0, &v1alpha1.Delivery{RetryAfterMax: ptr("PT0S")}, with(func(p *delivery.Policy) { p.RetryAfterMax = 0 })},
		"maxAge":            {0, &v1alpha1.Delivery{MaxAge: &metav1.Duration{Duration: time.Second}}, with(func(p *delivery.Policy) { p.MaxAge = time.Second })},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			evt, call := onEvent("e", "a"), asyncHTTP("c", "/x")
			evt.Delivery, call.Delivery = test.delivery, test.delivery
			f := fn("coop/f", 1, evt, call)
			if test.timeout > 0 {
				f.Spec.Timeout = &metav1.Duration{Duration: test.timeout}
			}
			s := Compile([]v1alpha1.Function{f}, laptop)
			if got := subscription(t, s, "EV_coop/f_e").Policy; got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			test.want.Source = delivery.Call
			if got := subscription(t, s, "WORK_coop/f_c").Policy; got != test.want {
				t.Errorf("a call's: got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestConcurrency(t *testing.T) {
	tests := map[string]struct {
		scale   *v1alpha1.Scale
		trigger *v1alpha1.Delivery
		want    int
	}{
		"defaults":    {nil, nil, 200},
		"nothing set": {&v1alpha1.Scale{}, &v1alpha1.Delivery{}, 200},
		"instances":   {&v1alpha1.Scale{Max: ptr[int32](3)}, nil, 30},
		"calls":       {&v1alpha1.Scale{Concurrency: ptr[int32](1)}, nil, 20},
		"unlimited":   {&v1alpha1.Scale{Max: ptr[int32](2), Concurrency: ptr[int32](0)}, nil, 200},
		"the largest": {&v1alpha1.Scale{Max: ptr[int32](1000), Concurrency: ptr[int32](1000)}, nil, 1_000_000},
		"its own":     {&v1alpha1.Scale{Max: ptr[int32](3)}, &v1alpha1.Delivery{Concurrency: ptr[int32](7)}, 7},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			trigger := onEvent("e", "a")
			trigger.Delivery = test.trigger
			f := fn("coop/f", 1, trigger)
			f.Spec.Scale = test.scale
			if got := Compile([]v1alpha1.Function{f}, laptop).Subscriptions[0].Concurrency; got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// TestDelivery checks what every source has in common: batches and outcomes, but
// for the calls of an http trigger, which share nothing.
func TestDelivery(t *testing.T) {
	d := &v1alpha1.Delivery{
		Concurrency: ptr[int32](3), Batch: &v1alpha1.Batch{Size: ptr[int32](20), Window: &metav1.Duration{Duration: time.Second}},
		OnSuccess: &v1alpha1.Destination{EventType: "a.done"}, OnFailure: &v1alpha1.Destination{Queue: "failed"},
	}
	sources := map[string]v1alpha1.Trigger{
		"event": {Event: &v1alpha1.EventSource{Types: []string{"a"}}}, "queue": {Queue: &v1alpha1.QueueSource{Name: "a"}}, "call": {HTTP: &v1alpha1.HTTPSource{Path: "/", Async: true}},
	}
	for name, trigger := range sources {
		f := v1alpha1.Function{}
		f.Namespace, f.Name = "shop", "offers"
		trigger.Name, trigger.Delivery = "t", d
		f.Spec.Triggers = []v1alpha1.Trigger{trigger}
		sub := Compile([]v1alpha1.Function{f}, laptop).Subscriptions[1]
		if sub.Trigger != "t" {
			sub = Compile([]v1alpha1.Function{f}, laptop).Subscriptions[0]
		}
		want, inFlight := Batch{20, time.Second}, 60
		if name == "call" {
			want, inFlight = Batch{}, 3
		}
		if sub.Batch != want || sub.InFlight() != inFlight || sub.OnSuccess != (Destination{EventType: "a.done"}) || sub.OnFailure != (Destination{Queue: "failed"}) {
			t.Errorf("%s: %+v", name, sub)
		}
	}
	for _, test := range []struct{ calls, size, want int }{
		{200, 0, 200}, {200, 1, 200}, {200, 100, 20_000}, {200, 1000, 32_768}, {1_000_000, 0, 1_000_000}, {1_000_000, 1000, 1_000_000},
	} {
		s := Subscription{Concurrency: test.calls, Batch: Batch{Size: test.size}}
		if got := s.InFlight(); got != test.want {
			t.Errorf("%d calls of %d: %d messages in flight, want %d", test.calls, test.size, got, test.want)
		}
	}
}
