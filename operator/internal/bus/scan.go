package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
)

// scanBatch is how many messages a scan asks for at a time.
const scanBatch = 500

// Scan calls f with every message on a subject, which may hold wildcards, oldest
// first, as of now.
func (b *Bus) Scan(ctx context.Context, stream, subject string, f func(*envelope.Message) error) error {
	return b.scan(ctx, place{stream: stream, subject: subject}, func(m *envelope.Message, _ bool) (bool, error) {
		return true, f(m)
	})
}

// place is where a scan begins: behind the sequence after.
type place struct {
	stream, subject string
	after           uint64
	headersOnly     bool
}

// scan calls f with each message until f says that it has had enough. more says
// that others follow.
func (b *Bus) scan(ctx context.Context, from place, f func(m *envelope.Message, more bool) (goOn bool, err error)) error {
	doing := fmt.Sprintf("reading %q of stream %q", from.subject, from.stream)
	c, err := b.js.OrderedConsumer(ctx, from.stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{from.subject}, HeadersOnly: from.headersOnly,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from.after + 1,
	})
	if err != nil {
		return explain(doing, err)
	}
	for more := true; more; {
		messages, err := c.FetchNoWait(scanBatch)
		if err != nil {
			return explain(doing, err)
		}
		more = false
		for msg := range messages.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("%s: %w", doing, err)
			}
			more = meta.NumPending > 0
			goOn, err := f(&delivered(msg).Message, more)
			if err != nil || !goOn {
				return err
			}
		}
		if err := messages.Error(); err != nil {
			return explain(doing, err)
		}
	}
	return nil
}
