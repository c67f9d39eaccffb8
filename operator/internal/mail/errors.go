package mail

import (
	"errors"
	"fmt"
	"net/textproto"
)

// Error is why a mail was not sent. All of SMTP.Send's errors are of this type.
type Error struct {
	Code      int    // the server's SMTP reply, 0 when there was none
	Temporary bool   // the same mail may be taken later
	Text      string // the server's words, which may name a recipient, or what went wrong with the connection

	cause error
}

func (e *Error) Error() string {
	if e.Code == 0 {
		return "sending mail: " + e.Text
	}
	return fmt.Sprintf("sending mail: %d %s", e.Code, e.Text)
}

// Unwrap returns what caused e, such as context.Canceled.
func (e *Error) Unwrap() error { return e.cause }

// permanent is an error in the mail itself.
func permanent(err error) *Error {
	return &Error{Text: err.Error(), cause: err}
}

// errConnecting wraps what went wrong before the mail was mentioned, which says nothing about the mail.
var errConnecting = errors.New("connecting")

// answered is what the server replied, or that it did not.
func answered(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	e := &Error{Temporary: true, Text: err.Error(), cause: err}
	var reply *textproto.Error
	if errors.As(err, &reply) {
		e.Code, e.Text = reply.Code, reply.Msg
		e.Temporary = reply.Code < 500 || errors.Is(err, errConnecting)
	}
	return e
}
