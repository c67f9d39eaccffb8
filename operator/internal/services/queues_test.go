package services

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

const queue = "/v1/queues/labels/messages"

// enqueued sends a message and returns its id.
func (f *fixture) enqueued(headers, body string) string {
	f.Helper()
	r := f.send(writer, "POST "+queue, headers, body)
	var answer map[string]string
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.StatusCode != 202 || len(answer) != 1 || answer["id"] == "" {
		f.Fatalf("got %s %s, want a 202", r.Status, r.body)
	}
	return answer["id"]
}

// waiting are the messages of the queue that are due.
func (f *fixture) waiting() []*envelope.Message {
	f.Helper()
	return f.work(names.QueueFilter("shop", "labels"))
}

// work is every message on a subject of the work queue, which only its consumers
// may scan: one by one.
func (f *fixture) work(subject string) (out []*envelope.Message) {
	f.Helper()
	nc, err := f.nats.Connect("test")
	if err != nil {
		f.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		f.Fatal(err)
	}
	s, err := js.Stream(f.Context(), names.Work("shop"))
	if err != nil {
		f.Fatal(err)
	}
	for at := uint64(1); ; {
		m, err := s.GetMsg(f.Context(), at, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return out
		}
		if err != nil {
			f.Fatal(err)
		}
		at = m.Sequence + 1
		out = append(out, &envelope.Message{Subject: m.Subject, Header: envelope.Header(m.Header), Body: m.Data, Sequence: m.Sequence, Stored: m.Time})
	}
}

// TestQueue checks that what is stored is the event that the queue's trigger is
// to get, and that it stays there without one.
func TestQueue(t *testing.T) {
	f := newFixture(t)
	for contentType, body := range map[string]string{"text/csv; charset=utf-8": "a,b", "application/json": `{"a": 1}`, "": "\x00\xff"} {
		headers := ""
		if contentType != "" {
			headers = "Content-Type: " + contentType
		}
		before := time.Now()
		id := f.enqueued(headers, body)
		all := f.waiting()
		m := all[len(all)-1]
		e := event.FromStored(m.Header, m.Body)
		if err := e.Validate(); err != nil {
			t.Errorf("it is no event: %v", err)
		}
		item, ok := names.ParseWork(m.Subject)
		if !ok || item.Queue != "labels" || item.ID != id || item.Function != (names.Function{Namespace: "shop"}) {
			t.Errorf("its subject %q says %+v", m.Subject, item)
		}
		at, err := time.Parse(time.RFC3339Nano, e.Get("time"))
		if e.ID() != id || e.Source() != "/queues/labels" || e.Type() != "dev.serviceful.queue.message.v1" || e.Get("datacontenttype") != contentType ||
			string(e.Data) != body || err != nil || at.Before(before.Add(-time.Second)) {
			t.Errorf("stored %+v", e)
		}
		if p, err := m.Progress(); err != nil || p.Origin != id || p.Attempts != 0 || !p.First.Equal(m.Stored) {
			t.Errorf("it has come as far as %+v, error %v", p, err)
		}
	}
	if n := len(f.waiting()); n != 3 {
		t.Errorf("%d messages wait, want 3", n)
	}
}

func TestQueueRefused(t *testing.T) {
	f := newFixture(t)
	for name, test := range map[string]struct {
		headers, body string
		status        int
		kind          string
	}{
		"no duration":   {"Serviceful-Delay: 90", "x", 400, "malformed-delay"},
		"empty":         {"Serviceful-Delay:", "x", 400, "malformed-delay"},
		"two":           {"Serviceful-Delay: 1s\nServiceful-Delay: 2s", "x", 400, "malformed-delay"},
		"in the past":   {"Serviceful-Delay: -1s", "x", 400, "malformed-delay"},
		"for ages":      {"Serviceful-Delay: 8760h1ns", "x", 400, "malformed-delay"},
		"no media type": {"Content-Type: text/", "x", 400, "malformed-content-type"},
		"too large":     {"", strings.Repeat("a", 200_001), 413, "body-too-large"},
	} {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.wantProblem(f.send(writer, "POST "+queue, test.headers, test.body), test.status, test.kind)
		})
	}
	f.wantProblem(f.send(writer, "POST /v1/queues/a.b/messages", "", "x"), 403, "not-bound")
	if n := len(f.work(">")); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// TestQueueDelay checks that a message is not there before it is due.
func TestQueueDelay(t *testing.T) {
	f := newFixture(t)
	f.enqueued("Serviceful-Delay: 8760h", "late")
	sent := time.Now()
	id := f.enqueued("Serviceful-Delay: 700ms\nContent-Type: text/plain", "soon")
	f.eventually("the message is due", func() bool { return len(f.waiting()) == 1 })
	m := f.waiting()[0]
	if m.Stored.Before(sent.Add(700*time.Millisecond)) || string(m.Body) != "soon" || m.Header.Get("ce-id") != id || m.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("stored %s after it was sent: %+v", m.Stored.Sub(sent), m)
	}
	if p, err := m.Progress(); err != nil || !p.First.Equal(m.Stored) || p.Origin != id {
		t.Errorf("its time runs from %v, want from when it was due; error %v", p.First, err)
	}
}

// TestQueueOnce has equal requests sent at once, with and without a delay.
func TestQueueOnce(t *testing.T) {
	f := newFixture(t)
	for _, delay := range []string{"", "\nServiceful-Delay: 1h"} {
		var ids sync.Map
		var senders sync.WaitGroup
		key := fmt.Sprintf("Idempotency-Key: k%d%s", len(delay), delay)
		for range 8 {
			senders.Go(func() { ids.Store(f.enqueued(key, "x"), true) })
		}
		senders.Wait()
		n := 0
		ids.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("%q: %d ids", key, n)
		}
		f.wantProblem(f.send(writer, "POST "+queue, key, "y"), 422, "idempotency-key-reused")
		f.wantProblem(f.send(writer, "POST "+queue, key+"\nContent-Type: text/plain", "x"), 422, "idempotency-key-reused")
	}
	all := f.work("*.shop.queue.labels.*")
	if len(all) != 2 {
		t.Errorf("%d messages are stored, want one of each", len(all))
	}
}
