package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// apartFor is how long a call that may kill its function has it from others that
// may, from the moment there is an instance.
const apartFor = 500 * time.Millisecond

// apart has the calls of a function that may kill it begin one after the other.
// Those are the messages whose last call broke off: one of them may be at fault, and
// the others were beside it. Called together again, as all that waits for a new
// instance is, they would die with it.
type apart struct {
	mu     sync.Mutex
	tokens map[names.Function]chan struct{}
}

// enter waits until it is the turn of a call, which leave ends; leave may be called
// more than once. It fails only when ctx ends.
func (a *apart) enter(ctx context.Context, f names.Function) (leave func(), err error) {
	a.mu.Lock()
	token := a.tokens[f]
	if token == nil {
		token = make(chan struct{}, 1)
		a.tokens[f] = token
	}
	a.mu.Unlock()
	select {
	case token <- struct{}{}:
		return sync.OnceFunc(func() { <-token }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
