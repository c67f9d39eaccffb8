package servicefultest

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

// maxDelay is the longest Serviceful-Delay.
const maxDelay = 8760 * time.Hour

// Messages returns the messages of a queue, in the order in which they were sent, each with the delay that was asked for.
func (s *Services) Messages(queue string) []serviceful.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queues[queue])
}

func (s *Services) send(w http.ResponseWriter, r *http.Request) {
	queue := r.PathValue("queue")
	m := serviceful.Message{ContentType: r.Header.Get("Content-Type"), IdempotencyKey: r.Header.Get("Idempotency-Key")}
	var err error
	if delay := r.Header.Get("Serviceful-Delay"); delay != "" {
		m.Delay, err = time.ParseDuration(delay)
	}
	_, _, badType := mime.ParseMediaType(m.ContentType)
	m.Body, _ = io.ReadAll(r.Body)
	if err != nil || m.Delay < 0 || m.Delay > maxDelay || m.ContentType != "" && badType != nil {
		problem(w, http.StatusBadRequest)
		return
	}
	at := slices.IndexFunc(s.queues[queue], func(other serviceful.Message) bool {
		return m.IdempotencyKey != "" && other.IdempotencyKey == m.IdempotencyKey
	})
	if at >= 0 {
		first := s.queues[queue][at]
		if first.ContentType != m.ContentType || first.Delay != m.Delay || !bytes.Equal(first.Body, m.Body) {
			problem(w, http.StatusUnprocessableEntity)
			return
		}
	} else {
		at = len(s.queues[queue])
		s.queues[queue] = append(s.queues[queue], m)
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"id":"message-%d"}`, at+1)
}

// DeliverMessage calls function the way the platform delivers a message of queue, to path. id is the message's.
func DeliverMessage(t testing.TB, function http.Handler, path, queue, id string, message serviceful.Message) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(message.Body))
	for name, value := range map[string]string{
		"Content-Type": message.ContentType, "Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "/queues/" + queue, "Ce-Type": "dev.serviceful.queue.message.v1",
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	answer := httptest.NewRecorder()
	function.ServeHTTP(answer, r)
	return answer
}
