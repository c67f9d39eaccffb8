package serviceful

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
)

const (
	maxBody  = 64 << 10 // bytes of a request that ReadJSON reads
	maxEvent = 2 << 20  // bytes of an event's data; the platform stores no more
)

// Handle makes an http.Handler of a function that returns what went wrong, before it has written anything. A *Problem is the
// answer as it is. Any other error is 503, so that the platform delivers again or the caller repeats; it is logged, and told only
// as far as the services' own words go.
func Handle(handle func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := handle(w, r.WithContext(withCause(r)))
		if err == nil {
			return
		}
		problem, ok := errors.AsType[*Problem](err)
		if !ok {
			slog.Error("call failed", "trigger", r.Header.Get("Serviceful-Trigger"), "attempt", r.Header.Get("Serviceful-Attempt"),
				"event_id", attribute(r.Header, "id"), "error", err)
			problem = NewProblem(http.StatusServiceUnavailable, "the services did not answer; try again")
			if _, ok := errors.AsType[*ServiceError](err); ok {
				problem.Detail = err.Error()
			}
		}
		problem.write(w)
	})
}

// NotFound answers 404 to a request that no route of the function takes.
func NotFound(http.ResponseWriter, *http.Request) error {
	return NewProblem(http.StatusNotFound, "there is nothing at this path for this method")
}

// ReadJSON decodes the request's body, one JSON value of at most 64 KiB, into value. What is none is a 400 *Problem, and 413 when it
// is too long.
func ReadJSON(r *http.Request, value any) error { return readJSON(r, value, maxBody) }

func readJSON(r *http.Request, value any, limit int64) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return NewProblem(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", tooLong.Limit)
	}
	if err != nil {
		return NewProblem(http.StatusBadRequest, "the body could not be read")
	}
	if err := json.Unmarshal(body, value); err != nil {
		return NewProblem(http.StatusBadRequest, "the body is not the JSON expected here: %v", err)
	}
	return nil
}

// WriteJSON answers with value.
func WriteJSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the caller is gone
	return nil
}
