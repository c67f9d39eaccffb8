package bus

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
)

// Delivered is a message that a consumer handed out. The server delivers it
// again AckWait after its last sign of life, until it is acknowledged.
type Delivered struct {
	envelope.Message
	msg jetstream.Msg
}

// Ack ends the message. A lost acknowledgement is a duplicate, never a loss.
func (d *Delivered) Ack() error { return d.msg.Ack() }

// InProgress is a sign of life: AckWait begins anew.
func (d *Delivered) InProgress() error { return d.msg.InProgress() }

// Release hands the message back, to be delivered again at once.
func (d *Delivered) Release() error { return d.msg.Nak() }

// drainTimeout bounds the wait for messages on their way when the pulling ends,
// for a server that is away sends none.
const drainTimeout = time.Second

// Consume pulls the messages of a durable consumer and calls handle with each,
// one after the other, from one goroutine. At most max are asked for ahead; the
// consumer's MaxAckPending bounds those not yet settled. stop ends the pulling;
// messages that arrived are still handled before it returns, and none after.
func (b *Bus) Consume(ctx context.Context, stream, consumer string, max int, handle func(*Delivered)) (stop func(), err error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return nil, explain(fmt.Sprintf("looking up consumer %q of %q", consumer, stream), err)
	}
	var mu sync.Mutex
	stopped := false
	consuming, err := c.Consume(
		func(msg jetstream.Msg) {
			mu.Lock()
			defer mu.Unlock()
			if !stopped {
				handle(delivered(msg))
			}
		},
		jetstream.PullMaxMessages(max),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			slog.Debug("pulling messages", "stream", stream, "consumer", consumer, "error", err)
		}),
	)
	if err != nil {
		return nil, explain(fmt.Sprintf("consuming %q of %q", consumer, stream), err)
	}
	return func() {
		consuming.Drain()
		select {
		case <-consuming.Closed():
		case <-time.After(drainTimeout):
		}
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}, nil
}

func delivered(msg jetstream.Msg) *Delivered {
	d := &Delivered{msg: msg}
	d.Subject, d.Header, d.Body = msg.Subject(), envelope.Header(msg.Headers()), msg.Data()
	if d.Header == nil {
		d.Header = envelope.Header{}
	}
	if meta, err := msg.Metadata(); err == nil {
		d.Sequence, d.Stored = meta.Sequence.Stream, meta.Timestamp
	}
	return d
}
