package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// newMailbox is a mailbox of the namespaces shop and market, over a real NATS
// server.
func newMailbox(t *testing.T) *Mailbox {
	t.Helper()
	var functions []v1alpha1.Function
	for _, namespace := range []string{"shop", "market"} {
		f := v1alpha1.Function{}
		f.Namespace, f.Name = namespace, "writer"
		functions = append(functions, f)
	}
	snapshot := wiring.Compile(functions, wiring.Hosts{Domain: "localhost"})
	b := natstest.Connect(t, natstest.Server(t))
	if err := (bus.Layout{Bus: b, Mailbox: true}).Apply(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	return &Mailbox{Bus: b, Namespaces: snapshot.Namespaces}
}

// letter is the nth mail, n seconds after the first.
func letter(n int, to ...string) mail.Message {
	return mail.Message{
		ID: fmt.Sprint("mail-", n), From: "shop@localhost", To: to, Subject: fmt.Sprint("number ", n), Text: "né <b>", HTML: "<p>é</p>",
		Time: time.Date(2030, 1, 1, 0, 0, n, 0, time.UTC),
	}
}

// show is what GET /v1/mail answers.
func show(t *testing.T, b *Mailbox, query string) (out []view) {
	t.Helper()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/mail"+query, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK || out == nil {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	return out
}

func send(t *testing.T, b *Mailbox, namespace string, m mail.Message) {
	t.Helper()
	if err := b.Send(t.Context(), namespace, m); err != nil {
		t.Fatal(err)
	}
}

func TestShow(t *testing.T) {
	b := newMailbox(t)
	if got := show(t, b, ""); len(got) != 0 {
		t.Errorf("an empty box shows %v", got)
	}
	// They are handed over in another order than they were written in.
	send(t, b, "shop", letter(3, "ann@example.org"))
	send(t, b, "market", letter(2, "Ann <ann@example.org>", "bob@example.org"))
	send(t, b, "shop", letter(1, "bob@example.org"))
	send(t, b, "market", letter(4, "ann@example.org"))
	tests := map[string][]string{
		"": {"number 1", "number 2", "number 3", "number 4"}, "?to=ann@example.org": {"number 3", "number 4"},
		"?to=bob%40example.org": {"number 1", "number 2"}, "?to=nobody": nil, "?other=x": {"number 1", "number 2", "number 3", "number 4"},
	}
	for query, want := range tests {
		var got []string
		for _, v := range show(t, b, query) {
			got = append(got, v.Subject)
		}
		if !slices.Equal(got, want) {
			t.Errorf("GET /v1/mail%s shows %q, want %q", query, got, want)
		}
	}
	m := letter(1, "bob@example.org")
	want := view{m.ID, m.To, m.From, m.Subject, m.Text, m.HTML, m.Time}
	if got := show(t, b, "")[0]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestOneCopy checks that a mail handed over again is shown once.
func TestOneCopy(t *testing.T) {
	b := newMailbox(t)
	for range 3 {
		send(t, b, "shop", letter(1, "ann@example.org"))
		send(t, b, "shop", letter(2, "ann@example.org"))
	}
	if got := show(t, b, ""); len(got) != 2 || got[0].MessageID != "mail-1" || got[1].MessageID != "mail-2" {
		t.Errorf("the box shows %+v", got)
	}
}

// TestMany checks that a full box is shown whole.
func TestMany(t *testing.T) {
	b := newMailbox(t)
	const n = 1200 // several batches of a scan
	for i := range n {
		send(t, b, "shop", letter(i, "ann@example.org"))
	}
	got := show(t, b, "")
	for i, v := range got {
		if v.Subject != fmt.Sprint("number ", i) {
			t.Fatalf("mail %d is %q", i, v.Subject)
		}
	}
	if len(got) != n {
		t.Errorf("the box shows %d mails, want %d", len(got), n)
	}
}

// sender is an SMTP server that does what a test says.
type sender func(mail.Message) error

func (s sender) Send(_ context.Context, m mail.Message) error { return s(m) }

// TestSender checks that a mail is handed over before it is shown, and that one
// which was refused is not shown.
func TestSender(t *testing.T) {
	refused := &mail.Error{Code: 550, Text: "no such user"}
	var sent []string
	b := newMailbox(t)
	b.Sender = sender(func(m mail.Message) error {
		if n := len(show(t, b, "")); n != len(sent) {
			t.Errorf("%d mails are shown, %d were handed over", n, len(sent))
		}
		if m.Subject == "number 2" {
			return refused
		}
		sent = append(sent, m.Subject)
		return nil
	})
	send(t, b, "shop", letter(1, "ann@example.org"))
	var err *mail.Error
	if got := b.Send(t.Context(), "shop", letter(2, "ann@example.org")); !errors.As(got, &err) || err != refused {
		t.Errorf("got %v, want the server's own error", got)
	}
	send(t, b, "shop", letter(3, "ann@example.org"))
	if got := show(t, b, ""); len(got) != 2 || len(sent) != 2 {
		t.Errorf("the box shows %+v, handed over were %q", got, sent)
	}
}

// TestStoreGone checks that a box that cannot be read says so.
func TestStoreGone(t *testing.T) {
	b := newMailbox(t)
	b.Namespaces = func() map[string]bool { return map[string]bool{"nowhere": true} }
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/mail", nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if err := b.Send(t.Context(), "nowhere", letter(1, "ann@example.org")); !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("a mail that is not kept: %v", err)
	}
}
