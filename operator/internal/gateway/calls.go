package gateway

import (
	"errors"
	"net/http"
	"unicode/utf8"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// callView is what GET /calls/<id> answers.
type callView struct {
	ID       string         `json:"id"`
	State    envelope.State `json:"state"`
	Attempts int            `json:"attempts"`
	Reason   string         `json:"reason,omitempty"`
	Message  string         `json:"message,omitempty"`
	Response *responseView  `json:"response,omitempty"`
}

// responseView is the function's last answer. A body that is not UTF-8 is given
// in base64 instead.
type responseView struct {
	Status     int         `json:"status"`
	Headers    http.Header `json:"headers,omitempty"`
	Body       string      `json:"body,omitempty"`
	BodyBase64 []byte      `json:"bodyBase64,omitempty"`
	Truncated  bool        `json:"truncated,omitempty"`
}

// calls serves /calls/<id>.
func (d *Door) calls(w http.ResponseWriter, r *http.Request, id string) error {
	if !validID(id) {
		return unknownCall(id)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return d.showCall(w, r, id)
	case http.MethodDelete:
		return d.cancelCall(w, r, id)
	}
	w.Header().Set("Allow", "GET, HEAD, DELETE")
	return serve.NewProblem(http.StatusMethodNotAllowed, "method-not-allowed", "a call can be read and cancelled")
}

func (d *Door) showCall(w http.ResponseWriter, r *http.Request, id string) error {
	call, _, err := d.findCall(r, id)
	if err != nil {
		return err
	}
	view := callView{ID: id, State: call.Result.State, Attempts: call.Result.Attempts, Reason: call.Result.Reason, Message: call.Result.Message}
	if resp := call.Result.Response; resp != nil {
		view.Response = &responseView{Status: resp.Status, Headers: resp.Header, Truncated: resp.Truncated}
		if utf8.Valid(call.Body) {
			view.Response.Body = string(call.Body)
		} else {
			view.Response.BodyBase64 = call.Body
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	serve.WriteJSON(w, http.StatusOK, view)
	return nil
}

func (d *Door) cancelCall(w http.ResponseWriter, r *http.Request, id string) error {
	call, namespace, err := d.findCall(r, id)
	if err != nil {
		return err
	}
	cancelled := false
	if call.Result.State == envelope.Queued {
		if cancelled, err = d.cfg.Calls.CancelCall(r.Context(), namespace, id); errors.Is(err, bus.ErrNotFound) {
			return unknownCall(id)
		}
	}
	if err != nil {
		return err
	}
	if !cancelled {
		return serve.NewProblem(http.StatusConflict, "call-started", "call %s has been started or has ended; only a queued one can be cancelled", id)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// findCall looks a call up in the namespace of the request's host, or, where
// the host is nobody's, in all that there are and were: a call is known for as
// long as its result is kept, whether or not its function still is there.
func (d *Door) findCall(r *http.Request, id string) (bus.Call, string, error) {
	owner, everyone := d.cfg.Snapshot().OwnerOf(r.Host)
	namespaces := []string{owner}
	if everyone {
		var err error
		if namespaces, err = d.cfg.Calls.Namespaces(r.Context()); err != nil {
			return bus.Call{}, "", err
		}
	} else if owner == "" {
		return bus.Call{}, "", unknownCall(id)
	}
	for _, namespace := range namespaces {
		call, err := d.cfg.Calls.FindCall(r.Context(), namespace, id)
		if !errors.Is(err, bus.ErrNotFound) {
			return call, namespace, err
		}
	}
	return bus.Call{}, "", unknownCall(id)
}

func unknownCall(id string) error {
	return serve.NewProblem(http.StatusNotFound, "no-such-call", "there is no call %q; results are kept for 24 hours", id)
}

// validID reports whether id can be one that accept made.
func validID(id string) bool {
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(id) > 0 && len(id) <= 64
}
