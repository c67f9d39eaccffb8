package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Dispatcher measures what becomes of messages.
type Dispatcher struct {
	triggers *table[trigger, *triggerSeries]
	dead     *prometheus.CounterVec
}

var _ dispatch.Meter = (*Dispatcher)(nil)

// triggerSeries are the series of one trigger.
type triggerSeries struct {
	attempts [len(outcomes)]prometheus.Counter
	duration prometheus.Observer
	wait     prometheus.Observer
}

// outcome says what became of a message.
type outcome int

const (
	done outcome = iota
	failed
	retried
	uncalled
	dead
	filtered
	handedBack
)

var outcomes = [...]string{done: "done", failed: "failed", retried: "retried", uncalled: "uncalled", dead: "dead", filtered: "filtered", handedBack: "handed_back"}

func outcomeOf(a dispatch.Attempt) outcome {
	switch {
	case !a.Settled:
		return handedBack
	case a.Verdict.Action == delivery.Die:
		return dead
	case a.Filtered:
		return filtered
	case !a.Called:
		return uncalled
	case a.Verdict.Action == delivery.Retry:
		return retried
	case a.Verdict.Action == delivery.Fail:
		return failed
	}
	return done
}

// Dispatcher measures a dispatcher. Mail has the trigger "mail" of no function.
func (m *Metrics) Dispatcher() *Dispatcher {
	attempts := m.counter("serviceful_dispatcher_attempts_total", "Messages that were taken, by what became of them: done, failed (a call with a final answer that is no success), retried, uncalled (put off, as the function was not called), dead, filtered (by the trigger, or a time of a schedule that was missed), or handed_back.",
		append(triggerLabels[:3:3], "outcome")...)
	duration := m.histogram("serviceful_dispatcher_attempt_duration_seconds", "How long a call took from the taking of its message, the wait for an instance and for others of its batch included; each message of a batch counts.", calls, triggerLabels...)
	wait := m.histogram("serviceful_dispatcher_first_attempt_wait_seconds", "How long a message was stored before it was taken for the first time.", waits, triggerLabels...)
	deadLetters := m.counter("serviceful_dispatcher_dead_letters_total", "Messages that became dead letters, by the reason that the dead letter has.", append(triggerLabels[:3:3], "reason")...)
	fill := func(k trigger) *triggerSeries {
		s := &triggerSeries{duration: duration.With(k.labels()), wait: wait.With(k.labels())}
		for i, name := range outcomes {
			s.attempts[i] = attempts.WithLabelValues(k.Namespace, k.Name, k.Trigger, name)
		}
		return s
	}
	drop := func(k trigger) {
		duration.Delete(k.labels())
		wait.Delete(k.labels())
		attempts.DeletePartialMatch(k.labels())
		deadLetters.DeletePartialMatch(k.labels())
	}
	d := &Dispatcher{newTable(fill, drop), deadLetters}
	m.registry.MustRegister(newReading("serviceful_dispatcher_messages_in_flight", "Messages that were taken and are not settled, those that wait for their batch among them; in order, those that are called.", triggerLabels,
		func(emit func(float64, ...string)) {
			d.triggers.each(func(k trigger, n int64) { emit(float64(n), k.Namespace, k.Name, k.Trigger) })
		}))
	m.keep = append(m.keep, func(s *wiring.Snapshot) {
		wanted := map[trigger]bool{}
		for _, sub := range s.Subscriptions {
			wanted[triggerOf(sub)] = true
		}
		d.triggers.keep(func(k trigger) bool { return wanted[k] })
	})
	return d
}

func triggerOf(sub *wiring.Subscription) trigger { return trigger{sub.Function, sub.Trigger} }

// Begin is dispatch.Meter's.
func (d *Dispatcher) Begin(sub *wiring.Subscription) { d.triggers.begin(triggerOf(sub)) }

// End is dispatch.Meter's.
func (d *Dispatcher) End(sub *wiring.Subscription, a dispatch.Attempt) {
	k := triggerOf(sub)
	s := d.triggers.find(k).value
	what := outcomeOf(a)
	s.attempts[what].Inc()
	if a.First {
		s.wait.Observe(a.Waited.Seconds())
	}
	if a.Called && !a.Filtered {
		s.duration.Observe(a.Took.Seconds())
	}
	if what == dead {
		d.dead.WithLabelValues(k.Namespace, k.Name, k.Trigger, a.Verdict.Reason).Inc()
	}
	d.triggers.end(k)
}
