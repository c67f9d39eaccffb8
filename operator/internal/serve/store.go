package serve

import (
	"context"
	"errors"
	"net/http"
)

// Store is how a store of messages says why it did not store: the errors that a
// door finds in what the store returns.
type Store struct{ Full, TooLarge, KeyReused, Unavailable error }

// Explain turns an error of the store into a problem, and leaves any other as it
// is.
func (s Store) Explain(err error) error {
	switch {
	case errors.Is(err, s.Full):
		return NewProblem(http.StatusInsufficientStorage, "store-full", "the message store is full; nothing was stored")
	case errors.Is(err, s.TooLarge):
		return NewProblem(http.StatusRequestEntityTooLarge, "body-too-large", "%v", err)
	case errors.Is(err, s.KeyReused):
		return NewProblem(http.StatusUnprocessableEntity, "idempotency-key-reused", "%v", err)
	case errors.Is(err, s.Unavailable), errors.Is(err, context.DeadlineExceeded):
		return NewProblem(http.StatusServiceUnavailable, "store-unavailable",
			"the message store did not answer: it is away, or its disk is full or broken. "+
				"What was sent may be stored or not; sent again, it is stored once only where it has the same Idempotency-Key or event id as before")
	}
	return err
}
