package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/mail"
)

// newMailer is the SMTP server that mail is handed to, or what says that there
// is none.
func newMailer(o options) (dispatch.Mailer, func(), error) {
	if o.smtp == "" {
		return noMail{}, func() {}, nil
	}
	sender, err := mail.NewSMTP(mail.Config{Address: o.smtp, From: o.mailFrom, Domain: "serviceful.localhost"})
	if err != nil {
		return nil, nil, fmt.Errorf("--smtp %q: %w", o.smtp, err)
	}
	return relay{sender}, sender.Close, nil
}

// relay hands the mail of every namespace to one server.
type relay struct{ *mail.SMTP }

func (r relay) Send(ctx context.Context, _ string, m mail.Message) error { return r.SMTP.Send(ctx, m) }

// noMail leaves every mail to be tried again: a server may be set later.
type noMail struct{}

func (noMail) Send(context.Context, string, mail.Message) error {
	return errors.New("no SMTP server is set: start the dispatcher with --smtp")
}
