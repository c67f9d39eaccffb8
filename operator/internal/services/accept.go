package services

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// sending is a message that a caller wants stored.
type sending struct {
	scope   string        // of its Idempotency-Key (bus.Key)
	same    func() []byte // equal requests have equal bytes
	message func(id string) *envelope.Message
}

// accept stores a message, once for its Idempotency-Key, and answers with its id.
func (d *Door) accept(w http.ResponseWriter, r *http.Request, c caller, s sending) error {
	value, err := serve.IdempotencyKey(r.Header)
	if err != nil {
		return err
	}
	id := strings.ToLower(rand.Text())
	if value != "" {
		key := bus.Key{Function: c.Name, Scope: s.scope, Value: value, Request: s.same()}
		id, err = d.cfg.Outbox.StoreOnce(r.Context(), key, id, s.message)
	} else {
		_, err = d.cfg.Outbox.Store(r.Context(), s.message(id))
	}
	if err != nil {
		return err
	}
	serve.WriteJSON(w, http.StatusAccepted, map[string]string{"id": id})
	return nil
}
