package services

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
)

const hello = `{"to": "Ann <ann@example.org>", "subject": "Hello", "text": "Hi", "html": "<p>Hi</p>"}`

// mailed sends a mail and returns its id.
func (f *fixture) mailed(as names.Function, headers, body string) string {
	f.Helper()
	r := f.send(as, "POST /v1/mail", headers, body)
	var answer map[string]string
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.StatusCode != 202 || len(answer) != 1 || answer["id"] == "" {
		f.Fatalf("got %s %s, want a 202", r.Status, r.body)
	}
	return answer["id"]
}

// relay hands every mail that waits to the mailbox, as the dispatcher does, and
// returns what it found. It hands each over twice, as after a crash.
func (f *fixture) relay(namespace string, n int) (out []mail.Message) {
	f.Helper()
	got := make(chan mail.Message, 100)
	stop, err := f.bus.Consume(f.Context(), names.Work(namespace), names.MailConsumer, 10, func(d *bus.Delivered) {
		var m mail.Message
		if err := json.Unmarshal(d.Body, &m); err != nil {
			f.Error(err)
		}
		for range 2 {
			if err := f.box.Send(f.Context(), namespace, m); err != nil {
				f.Error(err)
			}
		}
		d.Ack()
		got <- m
	})
	if err != nil {
		f.Fatal(err)
	}
	for range n {
		select {
		case m := <-got:
			out = append(out, m)
		case <-time.After(deadline):
			f.Fatalf("%d mails are stored, want %d", len(out), n)
		}
	}
	stop()
	if left := len(got); left > 0 {
		f.Errorf("%d mails too many are stored", left)
	}
	return out
}

// box is what GET /v1/mail shows.
func (f *fixture) boxed(query string) (out []map[string]any) {
	f.Helper()
	r := f.sendAs("GET /v1/mail"+query, "", "")
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.StatusCode != 200 || out == nil {
		f.Fatalf("got %s %s", r.Status, r.body)
	}
	return out
}

// TestMail follows a mail from the function to the mailbox.
func TestMail(t *testing.T) {
	f := newFixture(t)
	if got := f.boxed(""); len(got) != 0 {
		t.Errorf("an empty box shows %v", got)
	}
	before := time.Now().UTC()
	id := f.mailed(writer, "", hello)
	m := f.relay("shop", 1)[0]
	want := mail.Message{
		ID: id, From: "shop@localhost", To: []string{"Ann <ann@example.org>"}, Subject: "Hello", Text: "Hi", HTML: "<p>Hi</p>", Time: m.Time,
	}
	if fmt.Sprint(m) != fmt.Sprint(want) || m.Time.Before(before) || m.Time.After(time.Now()) {
		t.Errorf("stored %+v, want %+v", m, want)
	}
	shown := f.boxed("")
	if len(shown) != 1 {
		t.Fatalf("the box shows %v, want one mail", shown)
	}
	for key, value := range map[string]string{
		"from": "shop@localhost", "to": "[Ann <ann@example.org>]", "subject": "Hello", "text": "Hi", "html": "<p>Hi</p>", "time": m.Time.Format(time.RFC3339Nano),
	} {
		if fmt.Sprint(shown[0][key]) != value {
			t.Errorf("%s: %v, want %s", key, shown[0][key], value)
		}
	}
}

func TestMailRefused(t *testing.T) {
	many := `"` + strings.Repeat(`a@b.c", "`, 50) + `a@b.c"`
	tests := map[string]struct {
		body   string
		status int
		kind   string
		says   string
	}{
		"nothing":               {"", 400, "malformed-mail", "body"},
		"no JSON":               {"{", 400, "malformed-mail", "body"},
		"no object":             {"[]", 400, "malformed-mail", "body"},
		"more than one":         {hello + hello, 400, "malformed-mail", "body"},
		"no recipient":          {`{"subject": "a", "text": "b"}`, 400, "malformed-mail", "to"},
		"no address":            {`{"to": "ann", "subject": "a", "text": "b"}`, 400, "malformed-mail", "to[0]"},
		"one that is none":      {`{"to": ["a@b.c", "ann"], "subject": "a", "text": "b"}`, 400, "malformed-mail", "to[1]"},
		"recipient as a number": {`{"to": 7, "subject": "a", "text": "b"}`, 400, "malformed-mail", "to"},
		"too many":              {`{"to": [` + many + `], "subject": "a", "text": "b"}`, 400, "malformed-mail", "to"},
		"line break in address": {`{"to": "a@b.c\r\nBcc: d@e.f", "subject": "a", "text": "b"}`, 400, "malformed-mail", "to[0]"},
		"no subject":            {`{"to": "a@b.c", "text": "b"}`, 400, "malformed-mail", "subject"},
		"line break in subject": {`{"to": "a@b.c", "subject": "a\nBcc: d@e.f", "text": "b"}`, 400, "malformed-mail", "subject"},
		"no text":               {`{"to": "a@b.c", "subject": "a"}`, 400, "malformed-mail", "text"},
		"text as a list":        {`{"to": "a@b.c", "subject": "a", "text": ["b"]}`, 400, "malformed-mail", "text"},
		"sender of its own":     {`{"to": "a@b.c", "subject": "a", "text": "b", "from": "d@e.f"}`, 400, "malformed-mail", "from"},
		"too large":             {`{"to": "a@b.c", "subject": "a", "text": "` + strings.Repeat("b", 200_000) + `"}`, 413, "body-too-large", "200000"},
	}
	f := newFixture(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.wantProblem(f.send(writer, "POST /v1/mail", "", test.body), test.status, test.kind, test.says)
			f.wantProblem(f.send(writer, "POST /v1/mail", "Idempotency-Key: a", test.body), test.status, test.kind, test.says)
		})
	}
	f.mailed(writer, "Idempotency-Key: a", hello) // no bad mail has used the key up
	f.relay("shop", 1)
}

// TestMailOnce checks that a mail sent again under its key is one mail.
func TestMailOnce(t *testing.T) {
	f := newFixture(t)
	first := f.mailed(writer, "Idempotency-Key: key", hello)
	if again := f.mailed(writer, "Idempotency-Key: key", hello); again != first {
		t.Errorf("ids %s and %s", first, again)
	}
	f.wantProblem(f.send(writer, "POST /v1/mail", "Idempotency-Key: key", strings.Replace(hello, "Hi", "Bye", 1)), 422, "idempotency-key-reused")
	others := []string{
		f.mailed(writer, "", hello), f.mailed(writer, "Idempotency-Key: another", hello), f.mailed(stranger, "Idempotency-Key: key", hello),
	}
	if slices.Contains(others, first) {
		t.Errorf("ids %s and %s", first, others)
	}
	f.relay("shop", 3)
	f.relay("market", 1)
	if again := f.mailed(writer, "Idempotency-Key: key", hello); again != first {
		t.Errorf("after it was handed over, the id is %s, was %s", again, first)
	}
	f.relay("shop", 0)
	shown := f.boxed("")
	if len(shown) != 4 {
		t.Errorf("the box shows %d mails, want 4", len(shown))
	}
}

// TestMailAtOnce sends one mail many times at the same time.
func TestMailAtOnce(t *testing.T) {
	f := newFixture(t)
	var ids sync.Map
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			r := f.send(writer, "POST /v1/mail", "Idempotency-Key: key", hello)
			if r.StatusCode != http.StatusAccepted {
				t.Errorf("got %s %s", r.Status, r.body)
			}
			ids.Store(r.body, true)
		})
	}
	all.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d ids for one mail", n)
	}
	f.relay("shop", 1)
	if shown := f.boxed(""); len(shown) != 1 {
		t.Errorf("the box shows %d mails, want one", len(shown))
	}
}

// TestMailKeysAreApart checks that a key which a caller used with a trigger of
// the function, even one named mail, says nothing about the function's mail.
func TestMailKeysAreApart(t *testing.T) {
	f := newFixture(t)
	call := func(id string) *envelope.Message { return envelope.Call(writer, "mail", id, envelope.Request{}, nil) }
	_, err := f.bus.StoreOnce(t.Context(), bus.Key{Function: writer, Scope: "mail", Value: "key", Request: []byte("the call")}, "id", call)
	if err != nil {
		t.Fatal(err)
	}
	if id := f.mailed(writer, "Idempotency-Key: key", hello); id == "id" {
		t.Error("the mail was taken for the call")
	}
	f.relay("shop", 1)
}

// TestMailboxView checks what of the mailbox is shown, and that it may be away.
func TestMailboxView(t *testing.T) {
	f := newFixture(t)
	for _, to := range []string{"ann@example.org", "bob@example.org", "ann@example.org"} {
		f.mailed(writer, "", fmt.Sprintf(`{"to": [%q, "c@d.e"], "subject": "a", "text": "b"}`, to))
	}
	f.relay("shop", 3)
	for query, want := range map[string]int{"": 3, "?to=ann@example.org": 2, "?to=c%40d.e": 3, "?to=ann": 0, "?to=": 3} {
		if got := f.boxed(query); len(got) != want {
			t.Errorf("GET /v1/mail%s shows %d mails, want %d", query, len(got), want)
		}
	}
	f.url = f.serve(nil, func(c *Config) { c.Mailbox = nil })
	f.wantProblem(f.sendAs("GET /v1/mail", "", ""), 401, "unauthenticated")
}
