// Package smtpsink is an SMTP server that keeps the mail it gets, for tests and trials of what sends mail.
//
// It owns the server and the reading of what arrived. It never relays anything, and it refuses only what its hook says.
// It may import the standard library and github.com/emersion/go-smtp, nothing of ours.
package smtpsink

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// maxMessageBytes bounds one mail.
const maxMessageBytes = 64 << 20

// Option changes the server before it listens: give it a TLSConfig and it offers STARTTLS, and PLAIN authentication
// with it.
type Option func(*smtp.Server)

// Hook decides what the sink answers to a command: nil accepts it, Reply refuses it, and waiting makes the server hang.
// The value that comes with the verb is the client's name for EHLO, the user for AUTH, the address for MAIL and RCPT, and
// empty for DATA, which is answered after the content. It is called from several goroutines.
type Hook func(verb, value string) error

// Sink is a running server. Its methods are safe for concurrent use.
type Sink struct {
	listener *counter
	server   *smtp.Server
	done     chan struct{} // closed when the server has stopped accepting

	mu       sync.Mutex
	hook     Hook
	messages []Message
}

// Start runs a sink on a free port of the loopback until the test ends.
func Start(t testing.TB, options ...Option) *Sink {
	t.Helper()
	s, err := New("127.0.0.1:0", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// New runs a sink on the address, such as "127.0.0.1:2525", until Close.
func New(addr string, options ...Option) (*Sink, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting the SMTP sink: %w", err)
	}
	s := &Sink{listener: &counter{Listener: l}, done: make(chan struct{})}
	s.server = smtp.NewServer(smtp.BackendFunc(s.session))
	s.server.Domain = "localhost"
	s.server.EnableSMTPUTF8 = true
	s.server.MaxMessageBytes = maxMessageBytes
	s.server.ErrorLog = log.New(io.Discard, "", 0)
	for _, option := range options {
		option(s.server)
	}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(s.listener)
	}()
	return s, nil
}

// Close stops the server and breaks its connections. What it got can still be read.
func (s *Sink) Close() error {
	err := s.server.Close()
	_ = s.listener.Close() // the server does not know it yet if it has not begun to serve
	<-s.done
	if errors.Is(err, smtp.ErrServerClosed) {
		return nil
	}
	return err
}

// Addr returns the address that the sink listens on.
func (s *Sink) Addr() string { return s.listener.Addr().String() }

// Connections returns how many connections were opened so far.
func (s *Sink) Connections() int { return int(s.listener.accepted.Load()) }

// Messages returns the mail accepted so far, in the order it came.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// SetHook makes the hook answer the commands from now on; nil accepts them all again.
func (s *Sink) SetHook(hook Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = hook
}

// Reply is a Hook's refusal with an SMTP reply code, 400 to 599.
func Reply(code int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 0, 0}, Message: text}
}

func (s *Sink) ask(verb, value string) error {
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(verb, value)
}

func (s *Sink) session(c *smtp.Conn) (smtp.Session, error) {
	if err := s.ask("EHLO", c.Hostname()); err != nil {
		return nil, err
	}
	return &session{sink: s}, nil
}

// session is one client's connection.
type session struct {
	sink *Sink
	next Message // what is known of the mail under way
}

var _ smtp.AuthSession = (*session)(nil)

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, _ string) error {
		s.next.User = user
		return s.sink.ask("AUTH", user)
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.next.From = from
	return s.sink.ask("MAIL", from)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.sink.ask("RCPT", to); err != nil {
		return err
	}
	s.next.Recipients = append(s.next.Recipients, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m := s.next
	if err := m.parse(raw); err != nil {
		return Reply(554, err.Error())
	}
	if err := s.sink.ask("DATA", ""); err != nil {
		return err
	}
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	s.sink.messages = append(s.sink.messages, m)
	return nil
}

func (s *session) Reset() { s.next = Message{User: s.next.User} }

func (s *session) Logout() error { return nil }

// counter counts what a listener accepts.
type counter struct {
	net.Listener
	accepted atomic.Int64
}

func (c *counter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.accepted.Add(1)
	}
	return conn, err
}
