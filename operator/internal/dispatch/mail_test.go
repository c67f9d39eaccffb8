package dispatch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// outbox records the mails that are handed over and answers each in turn, the
// last answer for all further ones.
type outbox struct {
	mu      sync.Mutex
	answers []error
	sent    []mail.Message
}

func (o *outbox) send(m mail.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = append(o.sent, m)
	return o.answers[min(len(o.sent), len(o.answers))-1]
}

func (o *outbox) mails() []mail.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]mail.Message(nil), o.sent...)
}

func newMailRig(t *testing.T, answers ...error) (*rig, *outbox) {
	t.Helper()
	o := &outbox{answers: answers}
	return newRig(t, status(200), nil, func(r *rig) { r.config.Mailer = mailer(o.send) }), o
}

func letter(id string) mail.Message {
	return mail.Message{ID: id, From: "offers@shop.test", To: []string{"member@shop.test"}, Subject: "Welcome", Text: "Hello", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (r *rig) mail(m mail.Message) {
	r.t.Helper()
	body, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	r.store(envelope.New(names.Mail(offers, m.ID), body))
}

func TestMail(t *testing.T) {
	temporary := &mail.Error{Code: 451, Temporary: true, Text: "try again"}
	permanent := &mail.Error{Code: 550, Text: "no such mailbox"}
	tests := map[string]struct {
		answers []error
		sent    int
		dead    bool
	}{
		"taken":               {[]error{nil}, 1, false},
		"taken at last":       {[]error{temporary, errors.New("of another kind"), nil}, 3, false},
		"refused":             {[]error{permanent}, 1, true},
		"refused after a try": {[]error{temporary, permanent}, 2, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, o := newMailRig(t, test.answers...)
			want := letter("1")
			r.mail(want)
			eventually(t, "it is handed over", func() bool { return len(o.mails()) >= test.sent && r.idle() })
			for _, m := range o.mails() {
				if !reflect.DeepEqual(m, want) {
					t.Errorf("handed over %+v, want %+v", m, want)
				}
			}
			if n := len(o.mails()); n != test.sent {
				t.Errorf("handed over %d times, want %d", n, test.sent)
			}
			letters := r.scan("DEAD_shop", "dead.shop.>")
			if !test.dead {
				if len(letters) != 0 {
					t.Errorf("%d dead letters", len(letters))
				}
				return
			}
			if len(letters) != 1 || letters[0].Subject != "dead.shop.offers._mail" {
				t.Fatalf("dead letters %v", letters)
			}
			d, body, err := letters[0].DeadLetter()
			if err != nil || d.Function != "offers" || d.Trigger != names.MailTrigger || d.Reason != delivery.ReasonRejected ||
				d.Attempts != test.sent || d.Message != permanent.Error() || d.Origin != "1" {
				t.Errorf("dead letter %+v, %v", d, err)
			}
			var kept mail.Message
			if err := json.Unmarshal(body, &kept); err != nil || !reflect.DeepEqual(kept, want) {
				t.Errorf("it keeps %+v, %v", kept, err)
			}
		})
	}
}

func TestMailThatCannotBeRead(t *testing.T) {
	r, o := newMailRig(t, nil)
	r.store(envelope.New(names.Mail(offers, "1"), []byte("no mail")))
	r.settled()
	if letters := r.dead(names.MailTrigger); len(letters) != 1 || letters[0].Reason != delivery.ReasonMalformed {
		t.Errorf("dead letters %+v", letters)
	}
	if n := len(o.mails()); n != 0 {
		t.Errorf("%d mails were handed over", n)
	}
}

// Each of many mails is handed over once.
func TestManyMails(t *testing.T) {
	const mails = 200
	r, o := newMailRig(t, nil)
	for i := range mails {
		r.mail(letter(fmt.Sprint(i)))
	}
	r.settled()
	seen := map[string]bool{}
	for _, m := range o.mails() {
		seen[m.ID] = true
	}
	if len(seen) != mails || len(o.mails()) != mails {
		t.Errorf("%d mails, %d of them different; want %d", len(o.mails()), len(seen), mails)
	}
}
