package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// codeConsumerLimit is the server's word that it takes no more consumers.
const codeConsumerLimit = 10026

// IsConsumerLimit reports whether a consumer was refused because there are as
// many as the server takes.
func IsConsumerLimit(err error) bool { return hasCode(err, codeConsumerLimit) }

// Survey is what waits, is under way and has died in a namespace.
type Survey struct {
	Triggers map[string]TriggerState // what has a consumer, by wiring.Subscription.Key
	Dead     map[DeadKey]int64
}

// DeadKey says whose dead letters are meant.
type DeadKey struct {
	Function names.Function
	Trigger  string
}

// TriggerState is how one trigger stands.
type TriggerState struct {
	Function names.Function
	Trigger  string
	Pending  int64     // messages that wait for a call, those to be repeated among them
	InFlight int64     // messages that are being called; in order: as many as may be, of those handed out
	Settled  time.Time // when one was last settled; zero if the server does not know
	AtRisk   bool      // the oldest that waits has passed half of the time it is kept
	Late     bool      // it was to start before the log began
	Clock    bool      // its schedule has a clock
}

// Namespaces is Bus.Namespaces.
func (l Layout) Namespaces(ctx context.Context) ([]string, error) { return l.Bus.Namespaces(ctx) }

// Survey looks at all triggers of a namespace at once: a few requests, however
// many there are, and one for each relay of changes that the snapshot has.
func (l Layout) Survey(ctx context.Context, namespace string, wired *wiring.Snapshot, now time.Time) (*Survey, error) {
	s := &Survey{Triggers: map[string]TriggerState{}, Dead: map[DeadKey]int64{}}
	for _, name := range []string{names.Events(namespace), names.Work(namespace)} {
		if err := l.surveyConsumers(ctx, s, name, namespace, now); err != nil {
			return nil, err
		}
	}
	if err := l.surveyRelays(ctx, s, namespace, wired); err != nil {
		return nil, err
	}
	err := l.eachSubject(ctx, names.Dead(namespace), names.DeadSubject(names.Function{Namespace: namespace, Name: "*"}, "*"), func(subject string, n uint64) {
		if f, trigger, ok := names.ParseDead(subject); ok {
			s.Dead[DeadKey{f, trigger}] = int64(n)
		}
	})
	return s, err
}

func (l Layout) surveyConsumers(ctx context.Context, s *Survey, name, namespace string, now time.Time) error {
	stream, err := l.Bus.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return explain(fmt.Sprintf("looking up stream %q", name), err)
	}
	feeds := map[string]string{} // the subjects of a filter but their last token -> a trigger's key
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		function, trigger, ok := names.ParseConsumer(info.Name)
		if !ok && info.Name != names.MailConsumer {
			continue
		}
		if !ok {
			function, trigger = "", names.MailConsumer
		}
		t := stateOf(info, names.Function{Namespace: namespace, Name: function}, trigger)
		if name == names.Events(namespace) {
			t.Late = late(stream.CachedInfo(), info)
			if t.AtRisk, err = atRisk(ctx, stream, info, now.Add(-eventsKept/2)); err != nil {
				return err
			}
		}
		key := name + "/" + info.Name
		s.Triggers[key] = t
		for _, filter := range filters(info.Config) {
			if prefix, ok := strings.CutSuffix(filter, ".*"); ok {
				feeds[prefix] = key
			}
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return explain(fmt.Sprintf("listing the consumers of %q", name), err)
	}
	if name == names.Events(namespace) {
		return l.addRetries(ctx, s, namespace)
	}
	return l.addSchedules(ctx, s, namespace, feeds)
}

// addRetries counts the events that wait to be delivered to a trigger again.
func (l Layout) addRetries(ctx context.Context, s *Survey, namespace string) error {
	return l.eachSubject(ctx, names.Retries(namespace), ">", func(subject string, n uint64) {
		f, trigger, _ := names.ParseEventDue(names.Unschedule(subject))
		s.wait(names.Events(namespace)+"/"+names.Consumer(f.Name, trigger), n)
	})
}

func (l Layout) surveyRelays(ctx context.Context, s *Survey, namespace string, wired *wiring.Snapshot) error {
	for _, sub := range wired.Subscriptions {
		if !sub.Relays() || sub.Function.Namespace != namespace {
			continue
		}
		c, err := l.Bus.js.Consumer(ctx, sub.Stream, sub.Consumer)
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return explain(fmt.Sprintf("looking up the relay of %q", sub.Stream), err)
		}
		s.Triggers[sub.Key()] = stateOf(c.CachedInfo(), sub.Function, sub.Trigger)
	}
	return nil
}

// stateOf is what a consumer itself says of how its trigger stands.
func stateOf(info *jetstream.ConsumerInfo, f names.Function, trigger string) TriggerState {
	t := TriggerState{Function: f, Trigger: trigger, Pending: int64(info.NumPending), InFlight: int64(info.NumAckPending)}
	if calls, err := strconv.ParseInt(info.Config.Metadata[callsKey], 10, 64); err == nil && t.InFlight > calls {
		t.Pending, t.InFlight = t.Pending+t.InFlight-calls, calls
	}
	if last := info.AckFloor.Last; last != nil {
		t.Settled = *last
	}
	return t
}

// addSchedules counts what waits until it is due: to be called again, or for the
// first time.
func (l Layout) addSchedules(ctx context.Context, s *Survey, namespace string, feeds map[string]string) error {
	name := names.Work(namespace)
	return l.eachSubject(ctx, name, names.Schedules(namespace), func(subject string, n uint64) {
		if f, trigger, ok := names.ParseClock(subject); ok {
			key := name + "/" + names.Consumer(f.Name, trigger)
			if t, ok := s.Triggers[key]; ok {
				t.Clock = true
				s.Triggers[key] = t
			}
			return
		}
		due := names.Unschedule(subject)
		s.wait(feeds[due[:strings.LastIndexByte(due, '.')]], n)
	})
}

// wait counts messages that wait for a trigger elsewhere than at its consumer.
func (s *Survey) wait(key string, n uint64) {
	if t, ok := s.Triggers[key]; ok {
		t.Pending += int64(n)
		s.Triggers[key] = t
	}
}

// late says whether a consumer was to start before the log that it found.
func late(stream *jetstream.StreamInfo, info *jetstream.ConsumerInfo) bool {
	from := info.Config.OptStartTime
	return from != nil && (from.Before(stream.Created) || from.Before(info.Created.Add(-eventsKept)))
}

// atRisk says whether the oldest event that a consumer has not settled was
// stored before half of its time. Mostly the stream's oldest was not.
func atRisk(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo, half time.Time) (bool, error) {
	if info.NumPending+uint64(info.NumAckPending) == 0 || !stream.CachedInfo().State.FirstTime.Before(half) {
		return false, nil
	}
	for _, filter := range info.Config.FilterSubjects {
		m, err := stream.GetMsg(ctx, info.AckFloor.Stream+1, jetstream.WithGetMsgSubject(filter))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return false, explain(fmt.Sprintf("reading the oldest of %q", info.Name), err)
		}
		if m.Time.Before(half) {
			return true, nil
		}
	}
	return false, nil
}

// eachSubject calls f with the subjects of a stream that match a filter, and how
// many messages are on each.
func (l Layout) eachSubject(ctx context.Context, name, filter string, f func(subject string, n uint64)) error {
	stream, err := l.Bus.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return explain(fmt.Sprintf("looking up stream %q", name), err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return explain(fmt.Sprintf("counting %q", filter), err)
	}
	for subject, n := range info.State.Subjects {
		f(subject, n)
	}
	return nil
}

// InUse reports whether an orphan's consumer is still pulled from for it, or has
// given out messages that are not settled yet.
func (l Layout) InUse(ctx context.Context, o Orphan) (bool, error) {
	c, err := l.Bus.js.Consumer(ctx, o.Stream, o.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, explain(fmt.Sprintf("looking up consumer %q", o.Consumer), err)
	}
	info := c.CachedInfo()
	return o.Used == "" && info.NumWaiting > 0 || info.NumAckPending > 0, nil
}
