package mail

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// letter is a mail as SMTP takes it.
type letter struct {
	from string // both with angle brackets
	to   []string
	utf8 bool // an address is not plain ASCII
	data []byte
}

// compose turns m into a letter. The same message always gives the same bytes.
func compose(m Message, domain string) (letter, error) {
	if err := m.check(); err != nil {
		return letter{}, err
	}
	if !isAtom(m.ID) {
		return letter{}, errors.New("id: must be 1 to 250 letters, digits and signs that a Message-ID may have")
	}
	if m.Time.IsZero() {
		return letter{}, errors.New("time: is required")
	}
	from, err := parseAddress(m.From)
	if err != nil {
		return letter{}, fmt.Errorf("from: %w", err)
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithBoundary(boundary(m)))
	msg.SetMessageIDWithValue(m.ID + "@" + domain)
	msg.SetDateWithValue(m.Time.UTC())
	msg.Subject(m.Subject)
	msg.FromMailAddress(from)
	l := letter{}
	l.from, l.utf8 = envelope(from)
	for _, s := range m.To {
		to, err := parseAddress(s)
		if err != nil {
			return letter{}, err
		}
		msg.AddToMailAddress(to)
		address, utf8 := envelope(to)
		l.to, l.utf8 = append(l.to, address), l.utf8 || utf8
	}
	if m.Text != "" {
		msg.AddAlternativeString(gomail.TypeTextPlain, m.Text)
	}
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	var data bytes.Buffer
	if _, err := msg.WriteTo(&data); err != nil {
		return letter{}, fmt.Errorf("writing the mail: %w", err)
	}
	l.data = data.Bytes()
	return l, nil
}

// envelope returns the address without its name, and whether the server needs SMTPUTF8 for it.
func envelope(a *netmail.Address) (address string, utf8 bool) {
	address = (&netmail.Address{Address: a.Address}).String()
	return address, strings.ContainsFunc(address, func(r rune) bool { return r > 0x7f })
}

// boundary parts text and HTML. It is a digest of both, so it does not vary and neither can contain it.
func boundary(m Message) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q", []string{m.ID, m.Text, m.HTML})))
}

// isAtom reports whether s may be one side of a Message-ID (RFC 5322, section 3.6.4).
func isAtom(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || strings.ContainsFunc(part, notAtext) {
			return false
		}
	}
	return len(s) <= 250
}

func notAtext(r rune) bool {
	alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !alphanumeric && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}
