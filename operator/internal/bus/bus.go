package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
)

// MinPayload is the smallest max_payload, in bytes, that a server may have: an
// asynchronous body of 1 MiB and its headers must fit.
const MinPayload = 2 << 20

// storeTimeout bounds the wait for the server's word that a message is stored.
const storeTimeout = 5 * time.Second

// Bus is one connection to NATS. Its methods may be called concurrently.
type Bus struct {
	// GroupEvents has events that are published at the same time be stored
	// together. It is for a server that syncs its disk before each answer; another
	// is faster without. Set it before use.
	GroupEvents bool

	nc      *nats.Conn
	js      jetstream.JetStream
	streams sync.Map   // stream name -> jetstream.Stream
	groups  sync.Map   // namespace -> *group of its events
	batches sync.Mutex // held while the messages of a batch are sent
}

// New uses a connection, which stays the caller's to close. It refuses a server
// whose max_payload is below MinPayload.
func New(nc *nats.Conn) (*Bus, error) {
	if size := nc.MaxPayload(); size < MinPayload {
		return nil, fmt.Errorf("the NATS server's max_payload is %d bytes; set at least %d, better 8 MiB", size, MinPayload)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(storeTimeout))
	if err != nil {
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	return &Bus{nc: nc, js: js}, nil
}

// Stored is the server's word that a message is stored.
type Stored struct {
	Stream    string
	Sequence  uint64
	Duplicate bool // it was there already, under the same message id
}

// Store stores a message and waits for the server's word. It returns ErrFull,
// ErrUnavailable or ErrTooLarge when there is none.
func (b *Bus) Store(ctx context.Context, m *envelope.Message) (Stored, error) {
	return b.store(ctx, m)
}

// StoreIf stores a message if the last one on its subject has the sequence
// last; 0 means that there is none. Else it returns ErrConflict.
func (b *Bus) StoreIf(ctx context.Context, m *envelope.Message, last uint64) (Stored, error) {
	return b.store(ctx, m, jetstream.WithExpectLastSequencePerSubject(last))
}

func (b *Bus) store(ctx context.Context, m *envelope.Message, opts ...jetstream.PublishOpt) (Stored, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, storeTimeout)
		defer cancel()
	}
	ack, err := b.js.PublishMsg(ctx, natsMsg(m), opts...)
	if err != nil {
		return Stored{}, explain("storing a message", err)
	}
	return Stored{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil
}

func natsMsg(m *envelope.Message) *nats.Msg {
	header := nats.Header(m.Header)
	if m.ID != "" {
		header[jetstream.MsgIDHeader] = []string{m.ID}
	}
	return &nats.Msg{Subject: m.Subject, Header: header, Data: m.Body}
}

// stream is a handle on a stream that exists; looked up once.
func (b *Bus) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	if s, ok := b.streams.Load(name); ok {
		return s.(jetstream.Stream), nil
	}
	s, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, explain(fmt.Sprintf("looking up stream %q", name), err)
	}
	b.streams.Store(name, s)
	return s, nil
}

// Last is the last message on a subject, which may hold wildcards; ErrNotFound
// if there is none.
func (b *Bus) Last(ctx context.Context, stream, subject string) (*envelope.Message, error) {
	return b.read(ctx, stream, fmt.Sprintf("reading %q", subject), func(s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, subject)
	})
}

// At is the message with a sequence; ErrNotFound if it is gone.
func (b *Bus) At(ctx context.Context, stream string, sequence uint64) (*envelope.Message, error) {
	doing := fmt.Sprintf("reading message %d of stream %q", sequence, stream)
	return b.read(ctx, stream, doing, func(s jetstream.Stream) (*jetstream.RawStreamMsg, error) { return s.GetMsg(ctx, sequence) })
}

// read reads a message of a stream with get. What is known of the stream says
// whom to ask: that nobody answers may mean that its number of replicas has
// changed, and it is looked up anew.
func (b *Bus) read(ctx context.Context, stream, doing string, get func(jetstream.Stream) (*jetstream.RawStreamMsg, error)) (*envelope.Message, error) {
	for again := false; ; again = true {
		s, err := b.stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		raw, err := get(s)
		switch {
		case err == nil:
			return &envelope.Message{
				Subject: raw.Subject, Header: envelope.Header(raw.Header), Body: raw.Data, Sequence: raw.Sequence, Stored: raw.Time,
			}, nil
		case again || !errors.Is(err, nats.ErrNoResponders):
			return nil, explain(doing, err)
		}
		b.streams.Delete(stream)
	}
}

// Delete removes one message; ErrNotFound if it is gone.
func (b *Bus) Delete(ctx context.Context, stream string, sequence uint64) error {
	s, err := b.stream(ctx, stream)
	if err != nil {
		return err
	}
	err = s.DeleteMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // which does not tell why
		if _, missing := b.At(ctx, stream, sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
			err = missing
		}
	}
	return explain("deleting a message", err)
}
