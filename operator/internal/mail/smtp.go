package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// TLS says when the connection to the server is encrypted, always by STARTTLS and with a verified certificate.
type TLS string

const (
	TLSOpportunistic TLS = "opportunistic" // when the server offers it; also what empty means
	TLSRequired      TLS = "required"
	TLSNever         TLS = "never"
)

// Config says which server mail is handed to, and how.
type Config struct {
	Address     string        // "host:port"
	From        string        // the sender of mail that names none
	Username    string        // empty: no authentication; with a user, the password never travels in clear text
	Password    string        //
	TLS         TLS           //
	TLSConfig   *tls.Config   // nil: the system's certificate authorities and the host of Address
	Timeout     time.Duration // of sending one mail, connecting included; 0: 30 s
	Domain      string        // of the Message-ID and of the client's greeting; it has to stay the same
	Connections int           // at once, each sending one mail after the other; 0: 4
	Idle        time.Duration // after which an unused connection is closed; 0: 10 s
}

// SMTP sends mail through one server. Its methods are safe for concurrent use.
type SMTP struct {
	config Config
	// connections holds those that send nothing now; taking one out is the right to use it.
	connections chan *connection
}

// NewSMTP checks the configuration; it does not connect.
func NewSMTP(c Config) (*SMTP, error) {
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Connections == 0 {
		c.Connections = 4
	}
	if c.Idle == 0 {
		c.Idle = 10 * time.Second
	}
	if _, err := parseAddress(c.From); err != nil {
		return nil, fmt.Errorf("SMTP sender: %w", err)
	}
	if !isAtom(c.Domain) {
		return nil, errors.New("SMTP domain: must be a domain name")
	}
	if c.Timeout < 0 || c.Connections < 0 || c.Idle < 0 {
		return nil, errors.New("SMTP timeout, connections and idle time: must not be negative")
	}
	s := &SMTP{config: c, connections: make(chan *connection, c.Connections)}
	options, err := c.options()
	if err != nil {
		return nil, err
	}
	for range c.Connections {
		s.connections <- &connection{config: c, options: options}
	}
	return s, nil
}

// Send hands the mail to the server and returns when the server has taken it, for all recipients or for none. Its error
// is an *Error: a reply of 5xx to the mail is permanent; a reply of 4xx, a refusal to talk at all (a wrong password, say),
// and a connection that fails or lasts too long are temporary. After such an error the server may still have taken the
// mail, which then arrives again, with the same Message-ID, when it is sent again.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	if m.From == "" {
		m.From = s.config.From
	}
	l, err := compose(m, s.config.Domain)
	if err != nil {
		return permanent(err)
	}
	select {
	case c := <-s.connections:
		defer func() { s.connections <- c }()
		if err := c.send(ctx, l); err != nil {
			return answered(err)
		}
		return nil
	case <-ctx.Done():
		return answered(fmt.Errorf("waiting for a connection: %w", context.Cause(ctx)))
	}
}

// Close waits for the mail being sent and closes the connections; one that is needed after that opens again.
func (s *SMTP) Close() {
	for range s.config.Connections {
		c := <-s.connections
		c.quit()
		s.connections <- c
	}
}

// options returns what every connection has in common for the library.
func (c Config) options() ([]gomail.Option, error) {
	host, service, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("SMTP address: %w", err)
	}
	port, err := strconv.Atoi(service)
	if err != nil || port < 1 || port > 65535 {
		return nil, fmt.Errorf("SMTP address: port %q is not a number from 1 to 65535", service)
	}
	policies := map[TLS]gomail.TLSPolicy{
		"": gomail.TLSOpportunistic, TLSOpportunistic: gomail.TLSOpportunistic, TLSRequired: gomail.TLSMandatory, TLSNever: gomail.NoTLS,
	}
	policy, ok := policies[c.TLS]
	if !ok {
		return nil, fmt.Errorf("SMTP TLS: must be %s, %s or %s, not %q", TLSOpportunistic, TLSRequired, TLSNever, c.TLS)
	}
	options := []gomail.Option{gomail.WithPort(port), gomail.WithHELO(c.Domain), gomail.WithTLSPolicy(policy), gomail.WithTimeout(c.Timeout)}
	if c.TLSConfig != nil {
		config := c.TLSConfig.Clone()
		if config.ServerName == "" {
			config.ServerName = host
		}
		options = append(options, gomail.WithTLSConfig(config))
	}
	if c.Username != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(c.Username), gomail.WithPassword(c.Password))
	}
	return options, nil
}
