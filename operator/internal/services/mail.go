package services

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// sendMail stores a mail for the relay: POST /v1/mail.
func (d *Door) sendMail(w http.ResponseWriter, r *http.Request, c caller) error {
	if !c.Mail {
		return serve.NewProblem(http.StatusForbidden, "not-bound", "function %s has no mail binding: add {mail: {}} to spec.bindings", c.Name)
	}
	body, err := serve.ReadBody(w, r, d.cfg.MaxBody, serve.Stall)
	if err != nil {
		return err
	}
	m, err := mail.Parse(body)
	if err != nil {
		return serve.NewProblem(http.StatusBadRequest, "malformed-mail", "%v", err)
	}
	m.From, m.Time = d.cfg.MailFrom, time.Now().UTC()
	return d.accept(w, r, c, sending{
		scope: names.MailTrigger,
		same:  func() []byte { return body },
		message: func(id string) *envelope.Message {
			m.ID = id
			return mailMessage(c.Name, m)
		},
	})
}

func mailMessage(f names.Function, m mail.Message) *envelope.Message {
	body, err := json.Marshal(m)
	if err != nil { // strings and a time
		panic(err)
	}
	out := envelope.New(names.Mail(f, m.ID), body)
	out.ID = "m/" + m.ID
	return out
}
