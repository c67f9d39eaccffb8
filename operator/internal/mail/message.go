// Package mail checks the mail that functions ask for and hands it to an SMTP server.
//
// It owns the form of a mail and what the server answered; it never stores, retries or repeats one on its own account,
// and never logs any of its content. It may import the standard library and github.com/wneessen/go-mail, nothing of ours.
package mail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"
)

const (
	maxRecipients = 50
	maxLine       = 998 // bytes in a line of a mail, RFC 5322 section 2.1.1
)

// Message is one mail. Sending the same Message again sends the same mail again, down to its Message-ID and Date.
type Message struct {
	ID      string    `json:"id"`      // makes the Message-ID <ID@domain>: letters, digits and !#$%&'*+/=?^_`{|}~.-
	From    string    `json:"from"`    // the sender, such as "Offers <offers@example.org>"; empty: the one of the SMTP configuration
	To      []string  `json:"to"`      // 1 to 50 recipients, with or without names
	Subject string    `json:"subject"` // 1 to 998 bytes without control characters
	Text    string    `json:"text"`    // at least one of Text and HTML is there
	HTML    string    `json:"html"`
	Time    time.Time `json:"time"` // becomes the Date header
}

// Parse reads what a function asks to be sent: {"to": "a@b" or ["a@b", ...], "subject": "", "text": "", "html": ""}, as
// Message bounds them. ID, From and Time are the caller's to set. The error is for the function to read: it names the
// field and repeats no content.
func Parse(body []byte) (Message, error) {
	var fields struct {
		To      recipients `json:"to"`
		Subject string     `json:"subject"`
		Text    string     `json:"text"`
		HTML    string     `json:"html"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&fields); err != nil {
		return Message{}, explain(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Message{}, errors.New("body: must be one JSON object and nothing after it")
	}
	m := Message{To: fields.To, Subject: fields.Subject, Text: fields.Text, HTML: fields.HTML}
	if err := m.check(); err != nil {
		return Message{}, err
	}
	return m, nil
}

// recipients is one address or a list of them.
type recipients []string

func (r *recipients) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil && one != "" {
		*r = []string{one}
		return nil
	}
	var list []string
	if json.Unmarshal(data, &list) != nil {
		return errors.New("to: must be an address or a list of addresses")
	}
	*r = list
	return nil
}

// explain says in terms of fields why a body does not decode.
func explain(err error) error {
	var wrongType *json.UnmarshalTypeError
	text := err.Error()
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("body: is empty")
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return fmt.Errorf("body: must be a JSON object, got %s", wrongType.Value)
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s: must be a string, got %s", wrongType.Field, wrongType.Value)
	case strings.HasPrefix(text, "json: unknown field "):
		return fmt.Errorf("%s: unknown field; there are to, subject, text and html", strings.TrimPrefix(text, "json: unknown field "))
	case strings.HasPrefix(text, "to: "):
		return err
	}
	return fmt.Errorf("body: %w", err)
}

// check holds for what a function gives.
func (m Message) check() error {
	if len(m.To) < 1 || len(m.To) > maxRecipients {
		return fmt.Errorf("to: must have 1 to %d addresses, has %d", maxRecipients, len(m.To))
	}
	for i, to := range m.To {
		if _, err := parseAddress(to); err != nil {
			return fmt.Errorf("to[%d]: %w", i, err)
		}
	}
	switch {
	case strings.TrimSpace(m.Subject) == "":
		return errors.New("subject: is required")
	case len(m.Subject) > maxLine:
		return fmt.Errorf("subject: must be at most %d bytes long, is %d", maxLine, len(m.Subject))
	case strings.ContainsFunc(m.Subject, unicode.IsControl):
		return errors.New("subject: must not contain line breaks or other control characters")
	case m.Text == "" && m.HTML == "":
		return errors.New("text, html: at least one is required")
	}
	return nil
}

func parseAddress(s string) (*netmail.Address, error) {
	if len(s) > maxLine {
		return nil, fmt.Errorf("must be at most %d bytes long, is %d", maxLine, len(s))
	}
	a, err := netmail.ParseAddress(s)
	if err != nil {
		return nil, errors.New("is not an address like name@example.org or Name <name@example.org>")
	}
	if strings.ContainsFunc(a.Name+a.Address, unicode.IsControl) {
		return nil, errors.New("must not contain line breaks or other control characters")
	}
	return a, nil
}
