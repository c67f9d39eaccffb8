package wiring

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/filter"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/schedule"
)

// unlimited is what a scale.concurrency of 0 counts as.
const unlimited = 100

// The mail relay's policy: mail servers that are away for a day are not rare, so
// it is maxAge that ends the retries.
var mailPolicy = delivery.Policy{
	Source: delivery.Mail, Retry: 10_000, Delay: time.Second, Timeout: time.Minute, MaxAge: 72 * time.Hour,
}

// mailConcurrency is how many mails of a namespace are on their way at once.
const mailConcurrency = 8

// relay has a stream be relayed, if it is not yet: as is says, which fills in all but
// the stream and the namespace.
func (c *compiler) relay(namespace, stream string, is func(*Subscription)) {
	if c.relayed[stream] {
		return
	}
	c.relayed[stream] = true
	s := &Subscription{Function: names.Function{Namespace: namespace}, Stream: stream}
	is(s)
	c.out.Subscriptions = append(c.out.Subscriptions, s)
}

func (c *compiler) mail(namespace string) {
	c.relay(namespace, names.Work(namespace), func(s *Subscription) {
		s.Trigger, s.Consumer, s.Filters = names.MailConsumer, names.MailConsumer, []string{names.MailFilter(namespace)}
		s.Concurrency, s.Policy = mailConcurrency, mailPolicy
	})
}

// subscribe adds the subscription of a trigger, with what those of every source
// have alike.
func (c *compiler) subscribe(fn *v1alpha1.Function, t *v1alpha1.Trigger, source delivery.Source, stream string, filters ...string) *Subscription {
	s := &Subscription{
		Function: nameOf(fn), Trigger: t.Name,
		Stream: stream, Consumer: names.Consumer(fn.Name, t.Name), Filters: filters,
		Concurrency: concurrency(fn, t),
		Policy:      policy(fn, t, source),
		Paused:      t.Paused,
	}
	if source == delivery.Event {
		s.Path = cmp.Or(t.Path, "/")
	}
	s.deliver(t.Delivery)
	c.out.Subscriptions = append(c.out.Subscriptions, s)
	return s
}

func (c *compiler) event(fn *v1alpha1.Function, f names.Function, i int) {
	t := &fn.Spec.Triggers[i]
	match, err := filter.Compile(t.Event.Filters)
	if err != nil {
		field := "event.filters"
		if at := (*filter.Error)(nil); errors.As(err, &at) {
			field = fmt.Sprintf("event.filters[%d]", at.Index)
		}
		c.problem(fn, i, field, v1alpha1.ReasonInvalidFilter, "its events wait until its filters are mended: %v", err)
	}
	types := distinct(t.Event.Types)
	filters := make([]string, len(types), len(types)+1)
	for i, p := range types {
		filters[i] = names.EventFilter(f.Namespace, p)
	}
	s := c.hear(fn, f, i, filters...)
	s.Types, s.Match, s.Held = types, match, err != nil
}

// hear subscribes a trigger to subjects of the event log.
func (c *compiler) hear(fn *v1alpha1.Function, f names.Function, i int, subjects ...string) *Subscription {
	t := &fn.Spec.Triggers[i]
	s := c.subscribe(fn, t, delivery.Event, names.Events(f.Namespace), append(subjects, names.EventRetry(f, t.Name))...)
	c.retries(f.Namespace)
	var err error
	if s.Start, err = start(t); err != nil {
		c.problem(fn, i, "delivery.startFrom", v1alpha1.ReasonInvalidStart, "it starts with what is new: startFrom %q: %v", *t.Delivery.StartFrom, err)
	}
	return s
}

// queue gives a queue's messages to the oldest trigger that claims it.
func (c *compiler) queue(fn *v1alpha1.Function, f names.Function, i int) {
	t := &fn.Spec.Triggers[i]
	q := names.Queue{Namespace: f.Namespace, Name: t.Queue.Name}
	if older := c.queues[q]; older != nil {
		c.problem(fn, i, "queue.name", v1alpha1.ReasonQueueTaken, "queue %q is taken by trigger %q of function %s, which came first", q.Name, older.Trigger, older.Function)
		return
	}
	s := c.subscribe(fn, t, delivery.Event, names.Work(f.Namespace), names.QueueFilter(f.Namespace, q.Name))
	s.Queue = q.Name
	c.queues[q] = s
}

// schedule wires a trigger to its clock. One whose schedule cannot be read keeps
// what it has, and its clock stands still.
func (c *compiler) schedule(fn *v1alpha1.Function, f names.Function, i int) {
	t := &fn.Spec.Triggers[i]
	spec := schedule.Spec{Cron: t.Schedule.Cron, TimeZone: t.Schedule.TimeZone}
	at, err := schedule.Parse(spec)
	switch {
	case errors.Is(err, schedule.ErrTimeZone):
		c.problem(fn, i, "schedule.timeZone", v1alpha1.ReasonInvalidSchedule, "it does not fire until its schedule is mended: %v", err)
	case err != nil:
		c.problem(fn, i, "schedule.cron", v1alpha1.ReasonInvalidSchedule, "it does not fire until its schedule is mended: cron %q: %v", spec.Cron, err)
	}
	if err != nil {
		at = &schedule.Schedule{Spec: spec}
	}
	s := c.subscribe(fn, t, delivery.Event, names.Work(f.Namespace), names.TickFilter(f, t.Name))
	s.Schedule, s.SkipMissed, s.Held = at, t.Schedule.Missed == v1alpha1.MissedSkip, err != nil
	if !t.Schedule.Overlap {
		s.Concurrency = 1
	}
}

// distinct drops every pattern that another one covers: the server refuses
// filters that overlap.
func distinct(types []string) []string {
	var out []string
	for i, t := range types {
		covered := slices.ContainsFunc(types, func(p string) bool { return p != t && names.CoversEventPattern(p, t) })
		if !covered && !slices.Contains(types[:i], t) {
			out = append(out, t)
		}
	}
	return out
}

func policy(fn *v1alpha1.Function, t *v1alpha1.Trigger, source delivery.Source) delivery.Policy {
	p := delivery.Policy{
		Source: source, Retry: delivery.DefaultRetry, Delay: delivery.DefaultBackoffDelay, Timeout: timeout(fn),
		RetryAfterMax: delivery.DefaultRetryAfterMax, MaxAge: delivery.DefaultMaxAge,
	}
	d := t.Delivery
	if d == nil {
		return p
	}
	if d.Retry != nil {
		p.Retry = int(*d.Retry)
	}
	p.Linear = d.BackoffPolicy != nil && *d.BackoffPolicy == v1alpha1.BackoffLinear
	p.Delay = iso8601(d.BackoffDelay, p.Delay)
	p.Timeout = iso8601(d.Timeout, p.Timeout)
	p.RetryAfterMax = iso8601(d.RetryAfterMax, p.RetryAfterMax)
	if d.MaxAge != nil {
		p.MaxAge = d.MaxAge.Duration
	}
	return p
}

// deliver adds to a subscription what a trigger's delivery says of every source.
func (s *Subscription) deliver(d *v1alpha1.Delivery) {
	if d == nil {
		return
	}
	s.OnSuccess, s.OnFailure = destination(d.OnSuccess), destination(d.OnFailure)
	if s.Policy.Source != delivery.Event {
		return
	}
	if d.OrderBy != nil {
		s.OrderBy = *d.OrderBy
	}
	if d.Batch == nil {
		return
	}
	s.Batch.Size = 1
	if d.Batch.Size != nil {
		s.Batch.Size = int(*d.Batch.Size)
	}
	if d.Batch.Window != nil {
		s.Batch.Window = d.Batch.Window.Duration
	}
}

func destination(d *v1alpha1.Destination) Destination {
	if d == nil {
		return Destination{}
	}
	return Destination{EventType: d.EventType, Queue: d.Queue}
}

// iso8601 reads a duration that the kind's validation has passed: PT, then
// hours, minutes and seconds, which Go writes alike.
func iso8601(s *string, unset time.Duration) time.Duration {
	if s == nil {
		return unset
	}
	d, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(*s, "PT")))
	if err != nil {
		return unset
	}
	return d
}

func start(t *v1alpha1.Trigger) (Start, error) {
	if t.Delivery == nil || t.Delivery.StartFrom == nil {
		return Start{}, nil
	}
	switch from := *t.Delivery.StartFrom; from {
	case v1alpha1.StartNew:
		return Start{}, nil
	case v1alpha1.StartAll:
		return Start{All: true}, nil
	default:
		at, err := time.Parse(time.RFC3339Nano, from)
		return Start{Time: at}, err
	}
}

func timeout(fn *v1alpha1.Function) time.Duration {
	if fn.Spec.Timeout == nil {
		return v1alpha1.DefaultTimeout
	}
	return fn.Spec.Timeout.Duration
}

// concurrency is the trigger's own, or what the function can take at its
// largest scale.
func concurrency(fn *v1alpha1.Function, t *v1alpha1.Trigger) int {
	if t.Delivery != nil && t.Delivery.Concurrency != nil {
		return int(*t.Delivery.Concurrency)
	}
	instances, calls := int32(v1alpha1.DefaultScaleMax), int32(v1alpha1.DefaultScaleConcurrency)
	if s := fn.Spec.Scale; s != nil {
		if s.Max != nil {
			instances = *s.Max
		}
		if s.Concurrency != nil {
			calls = *s.Concurrency
		}
	}
	if calls == 0 {
		calls = unlimited
	}
	return int(instances) * int(calls)
}
