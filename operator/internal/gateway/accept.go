package gateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// accept stores an asynchronous request, and only then answers 202.
func (d *Door) accept(w http.ResponseWriter, r *http.Request, rt *wiring.Route, params map[string]string) (status int, err error) {
	key, err := serve.IdempotencyKey(r.Header)
	if err != nil {
		return 0, err
	}
	body, err := serve.ReadBody(w, r, d.cfg.AsyncBody, d.cfg.Stall)
	if err != nil {
		return 0, err
	}
	ctx := context.WithoutCancel(r.Context()) // it is here: storing does not stop half-way when the caller goes
	removeConnectionHeaders(r.Header)
	delete(r.Header, "Content-Length") // the body's own, always
	introduce(r)
	req := invoke.Stored(r, params)
	call := func(id string) *envelope.Message { return envelope.Call(rt.Function, rt.Trigger, id, req, body) }
	id := strings.ToLower(rand.Text())
	m := call(id)
	if size := len(m.Header.Get(envelope.HeaderRequest)); size > envelope.MaxRequestHeader {
		return 0, serve.NewProblem(http.StatusRequestHeaderFieldsTooLarge, "headers-too-large",
			"the request's line and headers take %d bytes as they are stored, more than %d", size, envelope.MaxRequestHeader)
	}
	if key != "" {
		same := bytes.Join([][]byte{[]byte(r.Method), []byte(req.Target), body}, []byte{'\n'})
		id, err = d.cfg.Inbox.StoreOnce(ctx, bus.Key{Function: rt.Function, Scope: rt.Trigger, Value: key, Request: same}, id, call)
	} else {
		_, err = d.cfg.Inbox.Store(ctx, m)
	}
	if err != nil {
		return 0, err
	}
	w.Header().Set("Location", "/calls/"+id)
	serve.WriteJSON(w, http.StatusAccepted, map[string]string{"id": id})
	return http.StatusAccepted, nil
}
