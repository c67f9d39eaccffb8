package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Delivered is a message that a consumer handed out. The server delivers it
// again AckWait after its last sign of life, until it is acknowledged.
type Delivered struct {
	envelope.Message
	Behind     uint64 // messages that the consumer had still to hand out then
	Delivery   uint64 // how many it had handed out by then, this one included
	Deliveries uint64 // how often it had handed out this one
	reply      string // where the server hears of it
	bus        *Bus
}

// Ended reports whether a call that is handed out as its spare has ended.
func (d *Delivered) Ended(ctx context.Context) (bool, error) {
	if !d.IsSpare() {
		return false, nil
	}
	item, ok := names.ParseWork(d.Subject)
	if !ok {
		return false, nil
	}
	_, err := d.bus.result(ctx, item.Function.Namespace, item.ID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Ack ends the message, by an empty answer. A lost acknowledgement is a duplicate,
// never a loss.
func (d *Delivered) Ack() error { return d.bus.nc.Publish(d.reply, nil) }

// AckConfirmed ends the message, and returns when the server has said that it is
// ended.
func (d *Delivered) AckConfirmed(ctx context.Context) error {
	_, err := d.bus.nc.RequestWithContext(ctx, d.reply, []byte("+ACK"))
	return explain("acknowledging a message", err)
}

// InProgress is a sign of life: AckWait begins anew.
func (d *Delivered) InProgress() error { return d.say("+WPI") }

// Release hands the message back, to be delivered again at once.
func (d *Delivered) Release() error { return d.say("-NAK") }

// PutBack hands the message back, to be delivered again after a pause. It keeps
// its place among those not yet settled.
func (d *Delivered) PutBack(pause time.Duration) error {
	return d.say(fmt.Sprintf(`-NAK {"delay": %d}`, pause.Nanoseconds()))
}

func (d *Delivered) say(what string) error { return d.bus.nc.Publish(d.reply, []byte(what)) }

// Drop forgets the header and the body, which may be large, of a message that
// waits for its turn; Fetch reads them again.
func (d *Delivered) Drop() { d.Header, d.Body = nil, nil }

// Fetch reads what Drop forgot. ErrNotFound: the message is not in its stream any
// more.
func (d *Delivered) Fetch(ctx context.Context, stream string) error {
	m, err := d.bus.At(ctx, stream, d.Sequence)
	if err == nil {
		d.Header, d.Body = m.Header, m.Body
	}
	return err
}

// drainTimeout bounds the wait for messages on their way when the pulling ends,
// for a server that is away sends none.
const drainTimeout = time.Second

// resumePause is the pause before a consumer is looked up again that was removed
// under the pulling.
const resumePause = time.Second

// Consume pulls the messages of a durable consumer and calls handle with each,
// one after the other. If the consumer is removed and made again, it goes on.
//
// At most max are asked for ahead; the consumer's MaxAckPending bounds those not
// yet settled. With a small max the pulling may stand still for half a minute:
// nats.go does not ask again when all that it asked for were handled before it
// has noted that it asked.
//
// stop ends the pulling; messages that arrived are still handled before it
// returns, and none after: one that comes late is handed back.
func (b *Bus) Consume(ctx context.Context, stream, consumer string, max int, handle func(*Delivered)) (stop func(), err error) {
	p := &pulling{bus: b, stream: stream, consumer: consumer, max: max, handle: handle}
	first, err := p.begin(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var keeping sync.WaitGroup
	keeping.Go(func() { p.keep(ctx, first) })
	return func() {
		cancel()
		keeping.Wait()
	}, nil
}

type pulling struct {
	bus              *Bus
	stream, consumer string
	max              int
	handle           func(*Delivered)

	mu      sync.Mutex // held while a message is handled
	stopped bool
}

func (p *pulling) begin(ctx context.Context) (jetstream.ConsumeContext, error) {
	c, err := p.bus.js.Consumer(ctx, p.stream, p.consumer)
	if err != nil {
		return nil, explain(fmt.Sprintf("looking up consumer %q of %q", p.consumer, p.stream), err)
	}
	expiry := jetstream.DefaultExpires
	if cfg := c.CachedInfo().Config; cfg.Metadata[callsKey] != "" { // one that was cut off asks no more when another takes over
		expiry = max(cfg.AckWait/2, time.Second)
	}
	consuming, err := c.Consume(p.take, jetstream.PullMaxMessages(p.max), jetstream.PullExpiry(expiry),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			slog.Debug("pulling messages", "stream", p.stream, "consumer", p.consumer, "error", err)
		}))
	if err != nil {
		return nil, explain(fmt.Sprintf("consuming %q of %q", p.consumer, p.stream), err)
	}
	return consuming, nil
}

func (p *pulling) take(msg jetstream.Msg) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		_ = msg.Nak() // a lost one is delivered again after AckWait
		return
	}
	d := delivered(msg)
	d.bus = p.bus
	p.handle(d)
}

// keep pulls until ctx ends. nats.go ends a pulling for good when its consumer
// is gone.
func (p *pulling) keep(ctx context.Context, consuming jetstream.ConsumeContext) {
	for {
		select {
		case <-ctx.Done():
			p.drain(consuming)
			return
		case <-consuming.Closed():
		}
		slog.Warn("pulling has ended and begins anew", "stream", p.stream, "consumer", p.consumer)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(resumePause):
			}
			next, err := p.begin(ctx)
			if err == nil {
				consuming = next
				break
			}
			slog.Debug("pulling messages", "stream", p.stream, "consumer", p.consumer, "error", err)
		}
	}
}

// drain takes what is on its way, and nothing after.
func (p *pulling) drain(consuming jetstream.ConsumeContext) {
	consuming.Drain()
	select {
	case <-consuming.Closed():
	case <-time.After(drainTimeout):
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
}

func delivered(msg jetstream.Msg) *Delivered {
	d := &Delivered{reply: msg.Reply()}
	d.Subject, d.Header, d.Body = msg.Subject(), envelope.Header(msg.Headers()), msg.Data()
	if d.Header == nil {
		d.Header = envelope.Header{}
	}
	if meta, err := msg.Metadata(); err == nil {
		d.Sequence, d.Stored, d.Behind = meta.Sequence.Stream, meta.Timestamp, meta.NumPending
		d.Delivery, d.Deliveries = meta.Sequence.Consumer, meta.NumDelivered
	}
	return d
}
