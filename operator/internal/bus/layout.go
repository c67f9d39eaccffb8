package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// How long things are kept, and how long a message may be in silence.
const (
	eventsKept     = 7 * 24 * time.Hour
	resultsKept    = 24 * time.Hour
	tombstonesKept = 24 * time.Hour // of deleted keys
	dedupeWindow   = time.Minute    // 163 bytes of memory an id: short on purpose

	// AckWait is how long the server waits for a sign of life of a delivered
	// message before it delivers it again. Those at work are kept by heartbeats.
	AckWait = 15 * time.Second

	// layoutTimeout bounds the making of one stream or consumer. Servers that agree
	// on it, each with a slow disk, may take longer than nats.go's five seconds; to
	// give up early would be to ask them for the same again.
	layoutTimeout = 15 * time.Second
)

// Layout creates, changes and removes streams, consumers and buckets: the
// control plane's hand on NATS.
type Layout struct {
	Bus     *Bus
	Mailbox bool          // keep what was mailed in a stream of its own: the laptop
	AckWait time.Duration // of the consumers; default AckWait

	// Replicas is how many servers keep each stream: 1, 3 or 5, no more than there
	// are; default 1. A change is made at the next Apply.
	Replicas int
}

// Apply brings NATS to what a snapshot needs: streams, buckets, object
// stores and consumers. It never removes a stream, a bucket or a store.
// ErrQueueHeld: all is there but the consumers of queues that another trigger still
// has.
func (l Layout) Apply(ctx context.Context, s *wiring.Snapshot) error {
	for namespace := range s.Namespaces() {
		if err := l.ensureStreams(ctx, namespace); err != nil {
			return err
		}
	}
	if err := l.ensureData(ctx, s); err != nil {
		return err
	}
	return l.ensureConsumers(ctx, s)
}

// atOnce is how many streams or consumers are made beside one another.
const atOnce = 16

// ensureData makes the buckets and stores that are bound or whose changes are
// relayed.
func (l Layout) ensureData(ctx context.Context, s *wiring.Snapshot) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, f := range s.Functions {
		for bucket := range f.Buckets {
			g.Go(func() error { return l.ensure(ctx, bucketConfig(f.Name.Namespace, bucket)) })
		}
		for store := range f.Stores {
			g.Go(func() error { return l.ensure(ctx, objectConfig(f.Name.Namespace, store)) })
		}
	}
	for _, sub := range s.Subscriptions {
		switch {
		case !sub.RelaysChanges():
		case sub.Bucket != "":
			g.Go(func() error { return l.ensure(ctx, bucketConfig(sub.Function.Namespace, sub.Bucket)) })
		default:
			g.Go(func() error { return l.ensure(ctx, objectConfig(sub.Function.Namespace, sub.Store)) })
		}
	}
	return g.Wait()
}

func (l Layout) ensureConsumers(ctx context.Context, s *wiring.Snapshot) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	held := make([]error, len(s.Subscriptions)) // they hold up no other trigger
	for i, sub := range s.Subscriptions {
		g.Go(func() error {
			err := l.ensureTrigger(ctx, sub)
			if errors.Is(err, ErrQueueHeld) {
				held[i], err = err, nil
			}
			return err
		})
	}
	return cmp.Or(g.Wait(), errors.Join(held...))
}

func (l Layout) ensureStreams(ctx context.Context, namespace string) error {
	configs := []jetstream.StreamConfig{
		{
			Name: names.Events(namespace), Subjects: names.EventSubjects(namespace), MaxAge: eventsKept,
			AllowAtomicPublish: true,
		},
		{
			Name: names.Retries(namespace), Subjects: names.RetrySubjects(namespace), Retention: jetstream.WorkQueuePolicy,
			AllowMsgSchedules: true,
		},
		{
			Name: names.Work(namespace), Subjects: names.WorkSubjects(namespace), Retention: jetstream.WorkQueuePolicy,
			AllowMsgSchedules: true,
		},
		{Name: names.Dead(namespace), Subjects: []string{"dead." + namespace + ".>"}},
		{Name: names.Results(namespace), Subjects: names.ResultSubjects(namespace), MaxAge: resultsKept, MaxMsgsPerSubject: 1},
	}
	if l.Mailbox {
		configs = append(configs, jetstream.StreamConfig{
			Name: names.Mailbox(namespace), Subjects: []string{names.MailboxSubject(namespace, ">")}, MaxMsgsPerSubject: 1,
		})
	}
	for _, cfg := range configs {
		if err := l.ensure(ctx, cfg); err != nil {
			return err
		}
	}
	return nil
}

// bucketConfig is a key-value bucket as NATS clients expect it, but for Discard
// Old, which later allows schedules beside the keys.
func bucketConfig(namespace, bucket string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: names.BucketStream(namespace, bucket), Subjects: []string{names.Key(namespace, bucket, ">")},
		MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true, AllowMsgTTL: true, SubjectDeleteMarkerTTL: tombstonesKept,
	}
}

// layoutKey is the metadata of a stream that holds the digest of what it was
// last made to be.
const layoutKey = "serviceful.dev/layout"

// ensure makes a stream what cfg says. One that is so already is left alone: an
// update stops the stream for a moment, and each Function of a namespace asks.
// Any of several replicas would answer a direct read, also one that does not
// have yet what was just stored: then the leader is asked instead.
func (l Layout) ensure(ctx context.Context, cfg jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, layoutTimeout)
	defer cancel()
	cfg.Replicas = max(l.Replicas, 1)
	cfg.Storage, cfg.AllowDirect, cfg.Duplicates = jetstream.FileStorage, cfg.Replicas == 1, dedupeWindow
	text, err := json.Marshal(cfg)
	if err != nil {
		return fmt.Errorf("describing stream %q: %w", cfg.Name, err)
	}
	cfg.Metadata = map[string]string{layoutKey: digest(text)}
	there, err := l.Bus.js.Stream(ctx, cfg.Name)
	switch {
	case err == nil && there.CachedInfo().Config.Metadata[layoutKey] == cfg.Metadata[layoutKey]:
		return nil
	case errors.Is(err, jetstream.ErrStreamNotFound):
		_, err = l.Bus.js.CreateStream(ctx, cfg) // beside another Function's, which is the same
	case err == nil:
		_, err = l.Bus.js.UpdateStream(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("ensuring stream %q: %w", cfg.Name, err)
	}
	return nil
}

// Orphans are the triggers of a namespace that are no more and have left
// something: a consumer that no subscription of the snapshot uses, calls that were
// stored when it was gone, a clock. A trigger that has another source now is among
// them with what the one before has left.
func (l Layout) Orphans(ctx context.Context, namespace string, s *wiring.Snapshot) ([]Orphan, error) {
	used, seen := map[string]string{}, map[string]bool{}
	for _, sub := range s.Subscriptions {
		used[sub.Key()] = sub.Filters[0]
	}
	var out []Orphan
	add := func(o Orphan, filter string) {
		key := o.Stream + "/" + o.Consumer
		o.Used = used[key]
		if !seen[key] && (o.Used == "" || filter != "" && filter != o.Used) {
			seen[key] = true
			out = append(out, o)
		}
	}
	for _, each := range []struct {
		stream string
		call   func(ctx context.Context, stream jetstream.Stream, namespace string, f func(o Orphan, filter string)) error
	}{
		{names.Events(namespace), eachConsumer},
		{names.Work(namespace), eachConsumer},
		{names.Work(namespace), eachLeft},
	} {
		stream, err := l.Bus.stream(ctx, each.stream)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := each.call(ctx, stream, namespace, add); err != nil {
			return nil, err
		}
	}
	return out, l.eachRelay(ctx, namespace, used, add)
}

// eachRelay calls f for each relay of a bucket's or a store's changes in a
// namespace but those that are wanted, by their subscriptions' keys.
func (l Layout) eachRelay(ctx context.Context, namespace string, wanted map[string]string, f func(o Orphan, filter string)) error {
	list := l.Bus.js.StreamNames(ctx)
	for name := range list.Name() {
		of, trigger, ok := relayed(name)
		if !ok || of != namespace || wanted[name+"/"+names.ChangesConsumer] != "" {
			continue
		}
		switch _, err := l.Bus.js.Consumer(ctx, name, names.ChangesConsumer); {
		case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		case err != nil:
			return explain(fmt.Sprintf("looking up the relay of %q", name), err)
		default:
			f(Orphan{Stream: name, Consumer: names.ChangesConsumer, Function: names.Function{Namespace: namespace}, Trigger: trigger}, "")
		}
	}
	return explain("listing the streams", list.Err())
}

// relayed is the trigger that stands for the relay of a stream's changes, if it is
// a bucket's or a store's.
func relayed(stream string) (namespace, trigger string, ok bool) {
	if namespace, bucket, ok := names.ParseBucketStream(stream); ok {
		return namespace, names.BucketPath(bucket), true
	}
	namespace, store, ok := names.ParseStoreStream(stream)
	return namespace, names.StorePath(store), ok
}

// eachConsumer calls f for the trigger of each consumer of a stream.
func eachConsumer(ctx context.Context, stream jetstream.Stream, namespace string, f func(o Orphan, filter string)) error {
	name := stream.CachedInfo().Config.Name
	list := stream.ConsumerNames(ctx)
	for consumer := range list.Name() {
		if function, trigger, ok := names.ParseConsumer(consumer); ok {
			f(Orphan{Stream: name, Consumer: consumer, Function: names.Function{Namespace: namespace, Name: function}, Trigger: trigger}, "")
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return explain(fmt.Sprintf("listing the consumers of %q", name), err)
	}
	return nil
}

// eachLeft calls f for the trigger of each call that waits or is put off, and for
// that of each clock and each of its times; filter is what such a trigger's
// consumer filters.
func eachLeft(ctx context.Context, stream jetstream.Stream, namespace string, f func(o Orphan, filter string)) error {
	name, any := stream.CachedInfo().Config.Name, names.Function{Namespace: namespace, Name: "*"}
	calls, ticks := names.CallFilter(any, "*"), names.TickFilter(any, "*")
	for _, filter := range []string{calls, names.Schedule(calls), names.Clock(any, "*"), names.Schedule(ticks), ticks} {
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return explain(fmt.Sprintf("counting %q", filter), err)
		}
		for subject := range info.State.Subjects {
			if of, trigger, filter := whose(subject); filter != "" {
				f(Orphan{Stream: name, Consumer: names.Consumer(of.Name, trigger), Function: of, Trigger: trigger}, filter)
			}
		}
	}
	return nil
}

// whose is the trigger that a call, a clock or a time is of, due or put off, and
// what such a trigger's consumer filters.
func whose(subject string) (f names.Function, trigger, filter string) {
	due := names.Unschedule(subject)
	if item, ok := names.ParseWork(due); ok {
		return item.Function, item.Trigger, names.CallFilter(item.Function, item.Trigger)
	}
	f, trigger, ok := names.ParseTick(due)
	if !ok {
		f, trigger, ok = names.ParseClock(subject)
	}
	if !ok {
		return f, "", ""
	}
	return f, trigger, names.TickFilter(f, trigger)
}

// Namespaces are those that have an event stream.
func (b *Bus) Namespaces(ctx context.Context) ([]string, error) {
	var out []string
	list := b.js.StreamNames(ctx)
	for name := range list.Name() {
		if namespace, ok := names.ParseEvents(name); ok {
			out = append(out, namespace)
		}
	}
	return out, explain("listing the streams", list.Err())
}
