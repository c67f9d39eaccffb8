package bus

import (
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
func (l Layout) Apply(ctx context.Context, s *wiring.Snapshot) error {
	for namespace := range s.Namespaces() {
		if err := l.ensureStreams(ctx, namespace); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, f := range s.Functions {
		for bucket := range f.Buckets {
			g.Go(func() error { return l.ensure(ctx, bucketConfig(f.Name.Namespace, bucket)) })
		}
		for store := range f.Stores {
			g.Go(func() error { return l.ensure(ctx, objectConfig(f.Name.Namespace, store)) })
		}
	}
	for _, sub := range s.Subscriptions {
		g.Go(func() error { return l.ensureConsumer(ctx, sub) })
	}
	return g.Wait()
}

func (l Layout) ensureStreams(ctx context.Context, namespace string) error {
	configs := []jetstream.StreamConfig{
		{
			Name: names.Events(namespace), Subjects: names.EventSubjects(namespace), MaxAge: eventsKept,
			AllowMsgSchedules: true, AllowAtomicPublish: true,
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
		Name: names.BucketStream(namespace, bucket), Subjects: []string{keySubject(namespace, bucket, ">")},
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
// something: a consumer that no subscription of the snapshot uses, or calls that
// were stored when it was gone.
func (l Layout) Orphans(ctx context.Context, namespace string, s *wiring.Snapshot) ([]Orphan, error) {
	seen := map[string]bool{}
	for _, sub := range s.Subscriptions {
		seen[sub.Key()] = true
	}
	var out []Orphan
	add := func(o Orphan) {
		if key := o.Stream + "/" + o.Consumer; !seen[key] {
			seen[key] = true
			out = append(out, o)
		}
	}
	for _, each := range []struct {
		stream string
		call   func(ctx context.Context, stream jetstream.Stream, namespace string, f func(Orphan)) error
	}{
		{names.Events(namespace), eachConsumer},
		{names.Work(namespace), eachConsumer},
		{names.Work(namespace), eachCaller},
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
	return out, nil
}

// eachConsumer calls f for the trigger of each consumer of a stream.
func eachConsumer(ctx context.Context, stream jetstream.Stream, namespace string, f func(Orphan)) error {
	name := stream.CachedInfo().Config.Name
	list := stream.ConsumerNames(ctx)
	for consumer := range list.Name() {
		if function, trigger, ok := names.ParseConsumer(consumer); ok {
			f(Orphan{name, consumer, names.Function{Namespace: namespace, Name: function}, trigger})
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return explain(fmt.Sprintf("listing the consumers of %q", name), err)
	}
	return nil
}

// eachCaller calls f for the trigger of each call that waits or is put off.
func eachCaller(ctx context.Context, stream jetstream.Stream, namespace string, f func(Orphan)) error {
	name := stream.CachedInfo().Config.Name
	all := names.AnyCall(namespace, "*")
	for _, filter := range []string{all, names.Schedule(all)} {
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
		if err != nil {
			return explain(fmt.Sprintf("counting %q", filter), err)
		}
		for subject := range info.State.Subjects {
			if item, ok := names.ParseWork(names.Unschedule(subject)); ok {
				f(Orphan{name, names.Consumer(item.Function.Name, item.Trigger), item.Function, item.Trigger})
			}
		}
	}
	return nil
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
