package bus

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
)

const (
	// groupLeast is how many messages a batch pays for. The server stages it in
	// files of its own, which costs about as much as that many syncs.
	groupLeast = 16
	// groupBytes is how much is stored together at most, beside a first message.
	groupBytes = 1 << 20
)

// group stores the messages of one stream that allows batches, for a server that
// syncs its disk before each answer. Those that come while others are being stored
// are next; when they are many, they are stored as a batch, and synced once.
type group struct {
	bus *Bus

	mu      sync.Mutex
	waiting []member
	storing bool // by a goroutine, which ends when nothing waits
}

type member struct {
	message *envelope.Message
	done    chan<- error // has room for one
}

// store returns when the server has said that the message is stored, or ctx ends;
// then it may be stored all the same.
func (g *group) store(ctx context.Context, m *envelope.Message) error {
	done := make(chan error, 1)
	g.mu.Lock()
	g.waiting = append(g.waiting, member{m, done})
	if !g.storing {
		g.storing = true
		go g.storeWaiting(context.WithoutCancel(ctx))
	}
	g.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return explain("storing a message", ctx.Err())
	}
}

func (g *group) storeWaiting(ctx context.Context) {
	for next := g.next(); len(next) > 0; next = g.next() {
		g.storeTogether(ctx, next)
	}
}

// next are those that wait, as many as may be stored together.
func (g *group) next() []member {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size := 0, 0
	for n < min(len(g.waiting), event.MaxBatch) && (n == 0 || size+len(g.waiting[n].message.Body) <= groupBytes) {
		size += len(g.waiting[n].message.Body)
		n++
	}
	next := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.storing = n > 0
	return next
}

func (g *group) storeTogether(ctx context.Context, members []member) {
	if len(members) < groupLeast {
		g.storeEach(ctx, members)
		return
	}
	messages := make([]*envelope.Message, len(members))
	for i, m := range members {
		messages[i] = m.message
	}
	err := g.bus.storeBatch(ctx, messages)
	var refused *jetstream.APIError
	if errors.As(err, &refused) { // for one of them, such as one that is stored already: so it turns out which
		g.storeEach(ctx, members)
		return
	}
	for _, m := range members {
		m.done <- explain("storing a batch", err)
	}
}

// storeEach stores the messages beside one another.
func (g *group) storeEach(ctx context.Context, members []member) {
	var each sync.WaitGroup
	for _, m := range members {
		each.Go(func() { m.done <- g.bus.storeUnbatched(ctx, m.message) })
	}
	each.Wait()
}

// storeUnbatched stores a message that may have been one of a batch.
func (b *Bus) storeUnbatched(ctx context.Context, m *envelope.Message) error {
	for _, key := range [...]string{headerBatchID, headerBatchSequence, headerBatchCommit} {
		delete(m.Header, key)
	}
	_, err := b.Store(ctx, m)
	return err
}
