package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrFull is returned when the store has no room for the message. Nothing
	// was stored and nothing older was dropped.
	ErrFull = errors.New("the message store is full")
	// ErrUnavailable is returned when NATS did not say that it stored or found
	// the message. It may have been stored all the same.
	ErrUnavailable = errors.New("the message store is not available")
	// ErrTooLarge is returned for a message larger than the server takes.
	ErrTooLarge = errors.New("the message is larger than the message store takes")
	// ErrNotFound is returned when there is no such message, key or call.
	ErrNotFound = errors.New("not found")
	// ErrQueueHeld is returned when a queue's trigger cannot have it yet, because
	// the consumer of the one that had it before is still there. Laid out again when
	// that one is retired, it has it.
	ErrQueueHeld = errors.New("the trigger that had the queue before still has it")
	// ErrConflict is returned when a compare-and-set found another revision.
	ErrConflict = errors.New("the revision is another one")
)

// Codes of the JetStream API (nats-server, server/errors.json) that nats.go has
// no name for.
const (
	codeBatchDuplicate     = 10201
	codeInsufficient       = 10023
	codeStorageExceeded    = 10047
	codeMaximumBytes       = 10077
	codeWrongLastSequence  = 10071
	codeMaximumPayload     = 10054
	codeHeaderTooLarge     = 10097
	codeWrongLastSequence2 = 10164
	codeConsumerNotUnique  = 10100
)

// explain turns an error of nats.go into one of this package's, keeping its
// text. A nil error stays nil.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", doing, classify(err), err)
}

func classify(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api):
		switch api.ErrorCode {
		case codeInsufficient, codeStorageExceeded, codeMaximumBytes:
			return ErrFull
		case codeWrongLastSequence, codeWrongLastSequence2:
			return ErrConflict
		case codeMaximumPayload, codeHeaderTooLarge:
			return ErrTooLarge
		case jetstream.JSErrCodeMessageNotFound, jetstream.JSErrCodeConsumerNotFound, jetstream.JSErrCodeStreamNotFound:
			return ErrNotFound
		}
		return ErrUnavailable
	case errors.Is(err, nats.ErrMaxPayload):
		return ErrTooLarge
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		return ErrNotFound
	case errors.Is(err, context.Canceled):
		return context.Canceled
	}
	return ErrUnavailable
}

func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}
