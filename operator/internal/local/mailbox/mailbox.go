// Package mailbox is where mail goes on a laptop: to an SMTP server if there is
// one, and in any case into a box that a person or a test can read.
//
// It keeps one copy of each mail, however often it is handed over. It imports
// bus, envelope, mail, names and serve.
package mailbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// Sender hands a mail to the outside.
type Sender interface {
	Send(ctx context.Context, m mail.Message) error
}

// Mailbox sends and keeps mail.
type Mailbox struct {
	Bus        *bus.Bus
	Sender     Sender                 // nil: mail goes nowhere but into the box
	Namespaces func() map[string]bool // whose boxes are shown
}

// Send hands a mail over, then keeps it.
func (b *Mailbox) Send(ctx context.Context, namespace string, m mail.Message) error {
	if b.Sender != nil {
		if err := b.Sender.Send(ctx, m); err != nil {
			return err
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding a mail: %w", err)
	}
	_, err = b.Bus.Store(ctx, envelope.New(names.MailboxSubject(namespace, m.ID), body))
	return err
}

// view is a mail as GET /v1/mail shows it.
type view struct {
	MessageID string    `json:"messageId"`
	To        []string  `json:"to"`
	From      string    `json:"from"`
	Subject   string    `json:"subject"`
	Text      string    `json:"text"`
	HTML      string    `json:"html"`
	Time      time.Time `json:"time"`
}

// ServeHTTP answers every mail that was handed over, oldest first, as a JSON
// array; of one recipient with ?to=.
func (b *Mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to := r.URL.Query().Get("to")
	mails := []view{}
	for namespace := range b.Namespaces() {
		err := b.Bus.Scan(r.Context(), names.Mailbox(namespace), names.MailboxSubject(namespace, "*"), func(m *envelope.Message) error {
			var v mail.Message
			if err := json.Unmarshal(m.Body, &v); err != nil {
				return fmt.Errorf("reading a kept mail: %w", err)
			}
			if to == "" || slices.Contains(v.To, to) {
				mails = append(mails, view{v.ID, v.To, v.From, v.Subject, v.Text, v.HTML, v.Time})
			}
			return nil
		})
		if err != nil {
			serve.WriteProblem(w, serve.NewProblem(http.StatusServiceUnavailable, "store-unavailable", "%v", err))
			return
		}
	}
	slices.SortStableFunc(mails, func(a, b view) int { return a.Time.Compare(b.Time) })
	serve.WriteJSON(w, http.StatusOK, mails)
}
