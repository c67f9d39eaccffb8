package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/serviceful/serviceful/operator/internal/envelope"
)

const (
	scanBatch = 500              // messages that a scan asks for at a time
	scanIdle  = 10 * time.Second // after which the server forgets a scan
)

// Scan calls f with every message on a subject, which may hold wildcards, oldest
// first, as of now.
func (b *Bus) Scan(ctx context.Context, stream, subject string, f func(*envelope.Message) error) error {
	return b.scan(ctx, place{stream: stream, subjects: []string{subject}}, func(m *envelope.Message, _ bool) (bool, error) {
		return true, f(m)
	})
}

// place is where a scan begins: behind the sequence after, or at a time.
type place struct {
	stream      string
	subjects    []string // none of which covers another
	after       uint64
	from        time.Time // zero: after says where
	headersOnly bool
}

// scan calls f with each message until f says that it has had enough. more says
// that others follow.
func (b *Bus) scan(ctx context.Context, from place, f func(m *envelope.Message, more bool) (goOn bool, err error)) error {
	doing := fmt.Sprintf("reading %q of stream %q", from.subjects, from.stream)
	cfg := jetstream.ConsumerConfig{
		Name:           "scan-" + nuid.Next(), // without an underscore: no trigger's
		FilterSubjects: from.subjects, HeadersOnly: from.headersOnly,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from.after + 1,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: scanIdle,
	}
	if !from.from.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartSeq, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &from.from
	}
	c, err := b.js.CreateConsumer(ctx, from.stream, cfg)
	if err != nil {
		return explain(doing, err)
	}
	defer func() { // if it cannot be removed now, it goes by itself
		_ = b.js.DeleteConsumer(context.WithoutCancel(ctx), from.stream, c.CachedInfo().Name)
	}()
	lost := fmt.Errorf("%s: %w: a message got lost on its way", doing, ErrUnavailable)
	last := uint64(0)
	for pending := c.CachedInfo().NumPending; pending > 0; {
		missing := min(pending, scanBatch)
		messages, err := c.Fetch(int(missing), jetstream.FetchMaxWait(storeTimeout))
		if err != nil {
			return explain(doing, err)
		}
		for msg := range messages.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("%s: %w", doing, err)
			}
			if last++; meta.Sequence.Consumer != last {
				return lost
			}
			missing--
			pending = meta.NumPending
			if goOn, err := f(&delivered(msg).Message, pending > 0); err != nil || !goOn {
				return err
			}
		}
		if err := messages.Error(); err != nil {
			return explain(doing, err)
		}
		if missing > 0 { // they were removed meanwhile, or are late
			info, err := c.Info(ctx)
			if err != nil {
				return explain(doing, err)
			}
			if pending = info.NumPending; info.Delivered.Consumer != last {
				return lost
			}
		}
	}
	return nil
}
