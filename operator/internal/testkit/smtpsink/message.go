package smtpsink

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
)

// Message is a mail as it arrived.
type Message struct {
	User       string   // who authenticated, empty if nobody did
	From       string   // the envelope's sender
	Recipients []string // the envelope's recipients

	MessageID string      // with its angle brackets
	To        []string    // the addresses of the To header, without names
	Subject   string      // decoded
	Text      string      // the text/plain part, decoded, without line breaks at its end; empty if there is none
	HTML      string      // the text/html part, likewise
	Header    mail.Header // all headers, as they came
	Raw       []byte      // headers and body, as they came
}

// parse fills in what raw says.
func (m *Message) parse(raw []byte) error {
	parsed, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("reading the headers: %w", err)
	}
	m.Raw, m.Header, m.MessageID = raw, parsed.Header, parsed.Header.Get("Message-Id")
	if m.Subject, err = new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject")); err != nil {
		return fmt.Errorf("decoding the subject: %w", err)
	}
	to, err := parsed.Header.AddressList("To")
	if err != nil && !errors.Is(err, mail.ErrHeaderNotPresent) {
		return fmt.Errorf("reading To: %w", err)
	}
	for _, address := range to {
		m.To = append(m.To, address.Address)
	}
	return m.read(parsed.Header.Get, parsed.Body)
}

// read keeps the text and HTML of a part whose headers get returns, and of the parts within it.
func (m *Message) read(get func(string) string, body io.Reader) error {
	kind, params, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil {
		kind = "text/plain"
	}
	if strings.HasPrefix(kind, "multipart/") {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			part, err := parts.NextRawPart()
			if err == io.EOF { // not wrapped: that is a multipart without an end
				return nil
			}
			if err != nil {
				return fmt.Errorf("reading a part: %w", err)
			}
			if err := m.read(part.Header.Get, part); err != nil {
				return err
			}
		}
	}
	switch strings.ToLower(get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("decoding a %s part: %w", kind, err)
	}
	switch text := strings.TrimRight(string(content), "\r\n"); kind {
	case "text/plain":
		m.Text = text
	case "text/html":
		m.HTML = text
	}
	return nil
}
