package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/serviceful/serviceful/operator/internal/testkit/smtpsink"
)

func TestSendServerGone(t *testing.T) {
	sink := smtpsink.Start(t)
	s := sender(t, sink.Addr(), func(c *Config) { c.Connections = 1 })
	if err := s.Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	var refused *Error
	if err := s.Send(t.Context(), message()); !errors.As(err, &refused) || !refused.Temporary || refused.Code != 0 {
		t.Fatalf("Send: %v", err)
	}
	back, err := smtpsink.New(sink.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if err := s.Send(t.Context(), message()); err != nil {
		t.Errorf("the server is back: %v", err)
	}
	only(t, back)
}

// TestSendStaleConnection has the server end a kept connection: the next mail must go through all the same.
func TestSendStaleConnection(t *testing.T) {
	for name, end := range map[string]func(*smtpsink.Sink) *smtpsink.Sink{
		"broken": func(sink *smtpsink.Sink) *smtpsink.Sink {
			_ = sink.Close()
			back, err := smtpsink.New(sink.Addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = back.Close() })
			return back
		},
		"421": func(sink *smtpsink.Sink) *smtpsink.Sink {
			var once sync.Once
			sink.SetHook(func(verb, _ string) (err error) {
				if verb == "MAIL" {
					once.Do(func() { err = smtpsink.Reply(421, "too many mails") })
				}
				return err
			})
			return sink
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := smtpsink.Start(t)
			s := sender(t, sink.Addr(), func(c *Config) { c.Connections = 1 })
			if err := s.Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			sink = end(sink)
			if err := s.Send(t.Context(), message()); err != nil {
				t.Errorf("Send: %v", err)
			}
			if len(sink.Messages()) == 0 {
				t.Error("the second mail did not arrive")
			}
		})
	}
}

func TestSendHangingServer(t *testing.T) {
	for _, verb := range []string{"EHLO", "MAIL", "DATA"} {
		t.Run(verb, func(t *testing.T) {
			sink, release, hanging := smtpsink.Start(t), make(chan struct{}), make(chan struct{}, 10)
			defer close(release)
			sink.SetHook(func(v, _ string) error {
				if v == verb {
					hanging <- struct{}{}
					<-release
				}
				return nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-hanging
				cancel()
			}()
			wantInterrupted(t, sender(t, sink.Addr()).Send(ctx, message()), context.Canceled)
		})
	}
	t.Run("no greeting", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := sender(t, l.Addr().String(), func(c *Config) { c.Timeout, c.Connections = 20*time.Millisecond, 1 })
		wantInterrupted(t, s.Send(t.Context(), message()), context.DeadlineExceeded)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantInterrupted(t, s.Send(ctx, message()), context.Canceled)
	})
}

func wantInterrupted(t *testing.T, err, cause error) {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) || !refused.Temporary || refused.Code != 0 || !errors.Is(err, cause) {
		t.Errorf("Send: %v, want a temporary error by %v", err, cause)
	}
}

// TestSendReusesConnections sends from many goroutines at once, over no more connections than allowed.
func TestSendReusesConnections(t *testing.T) {
	const senders, each, connections = 16, 25, 3
	sink := smtpsink.Start(t)
	s := sender(t, sink.Addr(), func(c *Config) { c.Connections, c.Idle = connections, time.Hour })
	var running sync.WaitGroup
	for i := range senders {
		running.Go(func() {
			for j := range each {
				m := message()
				m.ID = fmt.Sprintf("m-%d-%d", i, j)
				if err := s.Send(t.Context(), m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	ids := map[string]bool{}
	for _, m := range sink.Messages() {
		ids[m.MessageID] = true
	}
	if len(ids) != senders*each || len(sink.Messages()) != senders*each {
		t.Errorf("%d mails of %d arrived", len(ids), senders*each)
	}
	if n := sink.Connections(); n > connections {
		t.Errorf("%d connections were opened, want at most %d", n, connections)
	}
}

func TestSendAfterIdleAndClose(t *testing.T) {
	sink := smtpsink.Start(t)
	s := sender(t, sink.Addr(), func(c *Config) { c.Connections, c.Idle = 1, time.Nanosecond })
	for deadline := time.Now().Add(10 * time.Second); sink.Connections() < 3; {
		if err := s.Send(t.Context(), message()); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("an idle connection is never closed")
		}
	}
	s.Close()
	s.Close()
	if err := s.Send(t.Context(), message()); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestTLSAndAuthentication(t *testing.T) {
	certificate := httptest.NewTLSServer(nil)
	defer certificate.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Certificate())
	withTLS := func(s *smtp.Server) { s.TLSConfig = &tls.Config{Certificates: certificate.TLS.Certificates} }
	inClear := func(s *smtp.Server) { s.AllowInsecureAuth = true }
	login := func(c *Config) { c.Username, c.Password, c.TLSConfig = "ann", "secret", &tls.Config{RootCAs: roots} }

	tests := map[string]struct {
		server    smtpsink.Option
		config    func(*Config)
		reply     error  // to AUTH
		user      string // empty: refused, temporarily
		wantError string
	}{
		"authenticated":     {withTLS, login, nil, "ann", ""},
		"required":          {withTLS, func(c *Config) { login(c); c.TLS = TLSRequired }, nil, "ann", ""},
		"wrong password":    {withTLS, login, smtpsink.Reply(535, "no"), "", "535"},
		"unknown authority": {withTLS, func(c *Config) { login(c); c.TLSConfig = nil }, nil, "", "certificate"},
		"no TLS to require": {inClear, func(c *Config) { c.TLS = TLSRequired }, nil, "", "STARTTLS"},
		"password in clear": {inClear, login, nil, "", "auth"},
		"never TLS":         {withTLS, func(c *Config) { login(c); c.TLS = TLSNever }, nil, "", "AUTH"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sink := smtpsink.Start(t, test.server)
			sink.SetHook(func(verb, _ string) error {
				if verb == "AUTH" {
					return test.reply
				}
				return nil
			})
			err := sender(t, sink.Addr(), test.config).Send(t.Context(), message())
			if test.user != "" {
				if err != nil {
					t.Fatal(err)
				}
				if got := only(t, sink).User; got != test.user {
					t.Errorf("authenticated as %q", got)
				}
				return
			}
			var refused *Error
			if !errors.As(err, &refused) || !refused.Temporary || !strings.Contains(err.Error(), test.wantError) {
				t.Errorf("Send: %v, want a temporary error with %q", err, test.wantError)
			}
		})
	}
}
