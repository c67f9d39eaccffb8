package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// quitTimeout bounds the farewell to a server.
const quitTimeout = time.Second

// connection sends one mail at a time. It connects when there is one to send, and stays connected until none came for
// the configured time.
type connection struct {
	config  Config
	options []gomail.Option
	session *session // nil: not connected
}

// session is one connection to the server, past its greeting.
type session struct {
	client  *smtp.Client
	conn    net.Conn
	unwatch func() bool // ends what watch began, and reports whether the session is unharmed
	idle    *time.Timer // quits the session, unless stopped in time
}

// send hands the letter over, and keeps the session if that did not end it.
func (c *connection) send(ctx context.Context, l letter) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	err := c.transfer(ctx, l)
	if s := c.session; s != nil {
		if ended(err) || err != nil && s.client.Reset() != nil || !s.unwatch() {
			c.drop()
		} else {
			s.idle = time.AfterFunc(c.config.Idle, s.quit)
		}
	}
	if ctx.Err() != nil && ended(err) {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// transfer is one mail transaction (RFC 5321, section 3.3). The first recipient that is refused ends it.
func (c *connection) transfer(ctx context.Context, l letter) error {
	if err := c.begin(ctx, l.from); err != nil {
		return err
	}
	client := c.session.client
	if ok, _ := client.Extension("SMTPUTF8"); l.utf8 && !ok {
		return permanent(errors.New("the server takes only addresses in ASCII"))
	}
	for _, to := range l.to {
		if err := client.Rcpt(to); err != nil {
			return err
		}
	}
	data, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := data.Write(l.data); err != nil {
		return err
	}
	return data.Close()
}

// begin names the sender, on the session at hand or, if the server has ended that meanwhile, on a new one.
func (c *connection) begin(ctx context.Context, from string) error {
	if s := c.session; s != nil {
		if s.idle.Stop() {
			s.watch(ctx)
			if err := s.client.Mail(from); !ended(err) {
				return err
			}
		}
		c.drop()
	}
	if err := c.open(ctx); err != nil {
		return fmt.Errorf("%w: %w", errConnecting, err)
	}
	return c.session.client.Mail(from)
}

// open connects, greets, encrypts and authenticates.
func (c *connection) open(ctx context.Context) error {
	host, _, err := net.SplitHostPort(c.config.Address)
	if err != nil {
		return err
	}
	s := &session{}
	dial := func(dialCtx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(dialCtx, network, c.config.Address)
		if err == nil {
			s.conn = conn
			s.watch(ctx)
		}
		return conn, err
	}
	client, err := gomail.NewClient(host, append(slices.Clip(c.options), gomail.WithDialContextFunc(dial))...)
	if err != nil {
		return err
	}
	s.client, err = client.DialToSMTPClientWithContext(ctx)
	if err == nil {
		c.session = s
	} else if s.conn != nil {
		s.unwatch()
		_ = s.conn.Close() // the library leaves it open
	}
	return err
}

// watch makes what is read and written fail as soon as ctx is done.
func (s *session) watch(ctx context.Context) {
	s.unwatch = context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
}

// ended reports whether err, from a command, leaves no session to go on with.
func ended(err error) bool {
	var reply *textproto.Error
	return err != nil && (!errors.As(err, &reply) || reply.Code == 421)
}

// drop gives the session up without a word.
func (c *connection) drop() {
	c.session.unwatch()
	_ = c.session.conn.Close()
	c.session = nil
}

// quit ends an idle session, if there is one.
func (c *connection) quit() {
	if c.session != nil && c.session.idle.Stop() {
		c.session.quit()
	}
	c.session = nil
}

// quit takes leave of the server.
func (s *session) quit() {
	_ = s.conn.SetDeadline(time.Now().Add(quitTimeout))
	_ = s.client.Quit()
	_ = s.conn.Close()
}
