package envelope

import (
	"fmt"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// MaxDeadResponse is how much of the last answer's body a dead letter keeps.
const MaxDeadResponse = 64 << 10

// DeadLetter says why a message is dead. The message itself is kept whole
// beside it.
type DeadLetter struct {
	Function string        `json:"function"`
	Trigger  string        `json:"trigger"` // names.MailTrigger for a mail
	Subject  string        `json:"subject"` // where the message was
	Origin   string        `json:"origin"`
	Reason   string        `json:"reason"` // one of delivery's reasons
	Message  string        `json:"message,omitempty"`
	Attempts int           `json:"attempts"`
	Cut      int           `json:"cut,omitempty"` // bytes of the message's own body, where it was not kept
	First    time.Time     `json:"first"`         // when it was first stored
	Died     time.Time     `json:"died"`
	Last     *LastResponse `json:"last,omitempty"` // the last answer, if there was one
}

// LastResponse is the last answer that a dead message got.
type LastResponse struct {
	Status int    `json:"status"`
	Body   []byte `json:"-"`      // cut at MaxDeadResponse
	Length int    `json:"length"` // of Body, which follows the message's own body
}

// Dead is the message that keeps m as a dead letter: m's headers, its body
// followed by that of the last answer, and d. Storing it twice stores it once.
func Dead(m *Message, f names.Function, d DeadLetter) *Message {
	h := carried(m.Header)
	delete(h, HeaderLast) // d says it
	body := m.Body
	if d.Last != nil {
		last := *d.Last
		last.Body = last.Body[:min(len(last.Body), MaxDeadResponse)]
		last.Length = len(last.Body)
		body = append(append(make([]byte, 0, len(body)+last.Length), body...), last.Body...)
		d.Last = &last
	}
	d.Function, d.Subject, d.Message = f.Name, m.Subject, cut(d.Message, maxMessage)
	setJSON(h, HeaderDead, d)
	return &Message{
		Subject: names.DeadSubject(f, d.Trigger), Header: h, Body: body,
		ID: fmt.Sprintf("d/%s/%s/%s/%d", f.Name, d.Trigger, d.Origin, m.Replays()),
	}
}

// Death reads why a message died from the headers of its dead letter alone; the
// body of its last answer is not there.
func (m *Message) Death() (DeadLetter, error) {
	var d DeadLetter
	err := getJSON(m.Header, HeaderDead, &d)
	return d, err
}

// DeadLetter reads a dead letter: why the message died, and its own body.
func (m *Message) DeadLetter() (DeadLetter, []byte, error) {
	d, err := m.Death()
	if err != nil {
		return d, nil, err
	}
	if d.Last == nil {
		return d, m.Body, nil
	}
	own := len(m.Body) - d.Last.Length
	if own < 0 || d.Last.Length < 0 {
		return d, nil, fmt.Errorf("reading %s: the answer's length %d exceeds the body", HeaderDead, d.Last.Length)
	}
	d.Last.Body = m.Body[own:]
	return d, m.Body[:own], nil
}
