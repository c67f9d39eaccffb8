package dead

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// ID names a dead letter for as long as it is kept.
type ID struct {
	Namespace string
	Sequence  uint64 // in the namespace's dead-letter stream
}

// String is "<namespace>/<sequence>".
func (id ID) String() string { return id.Namespace + "/" + strconv.FormatUint(id.Sequence, 10) }

// ParseID is the inverse of String.
func ParseID(s string) (ID, error) {
	namespace, number, _ := strings.Cut(s, "/")
	sequence, err := strconv.ParseUint(number, 10, 64)
	if err != nil || sequence == 0 || namespace == "" || strings.ContainsAny(namespace, " .*>") {
		return ID{}, fmt.Errorf("%q is not the id of a dead letter, such as coop/42", s)
	}
	return ID{namespace, sequence}, nil
}

// Kind is what kind of message died.
type Kind string

// The kinds.
const (
	Event    Kind = "event" // also one that tells of a change
	Call     Kind = "call"  // an asynchronous HTTP request
	Mail     Kind = "mail"
	Queued   Kind = "queued"   // a queue's message
	Schedule Kind = "schedule" // a schedule's message
	Unknown  Kind = "unknown"  // kept by another version of the platform
)

// Letter is a dead letter.
type Letter struct {
	ID       ID
	Function names.Function
	Death    envelope.DeadLetter // its Last has no Body where the letter was read without bodies
	Kind     Kind
	Type     string            // of its event; "" for a call and a mail
	Body     []byte            // the message's own; nil where the letter was read without bodies
	Stored   *envelope.Message // the letter as it is stored
}

// Trigger names a trigger of a namespace; the zero Trigger none.
type Trigger struct{ Function, Name string }

// String is "<function>/<trigger>".
func (t Trigger) String() string { return t.Function + "/" + t.Name }

// ParseTrigger is the inverse of String.
func ParseTrigger(s string) (Trigger, error) {
	function, name, _ := strings.Cut(s, "/")
	if !label(function) || !label(name) {
		return Trigger{}, fmt.Errorf("%q is not FUNCTION/TRIGGER, such as offers/welcome", s)
	}
	return Trigger{function, name}, nil
}

// label reports whether s can be a token of a subject, which is all that counts
// here: what does not exist is not found.
func label(s string) bool {
	return s != "" && !strings.ContainsAny(s, "./*> \t\r\n")
}

// Headers reads a letter from its headers alone.
func Headers(namespace string, m *envelope.Message) (Letter, error) {
	d, err := m.Death()
	return letter(namespace, m, d, nil), err
}

// Whole reads a letter with its bodies.
func Whole(namespace string, m *envelope.Message) (Letter, error) {
	d, body, err := m.DeadLetter()
	return letter(namespace, m, d, body), err
}

func letter(namespace string, m *envelope.Message, d envelope.DeadLetter, body []byte) Letter {
	l := Letter{
		ID: ID{namespace, m.Sequence}, Function: names.Function{Namespace: namespace, Name: d.Function}, Death: d,
		Kind: Unknown, Body: body, Stored: m,
	}
	item, work := names.ParseWork(d.Subject)
	_, _, tick := names.ParseTick(d.Subject)
	switch {
	case work && item.Queue != "":
		l.Kind = Queued
	case work && item.Trigger == "":
		l.Kind = Mail
	case work:
		l.Kind = Call
	case tick:
		l.Kind = Schedule
	case strings.HasPrefix(d.Subject, "ev.") || strings.HasPrefix(d.Subject, "evchange.") || strings.HasPrefix(d.Subject, "evretry."):
		l.Kind = Event
	}
	l.Type = m.Header.Get("ce-type")
	return l
}

// Trigger is the trigger that the letter is of.
func (l Letter) Trigger() Trigger { return Trigger{l.Function.Name, l.Death.Trigger} }

// Call is the id of a call; "" for another kind.
func (l Letter) Call() string {
	if item, ok := names.ParseWork(l.Death.Subject); ok && l.Kind == Call {
		return item.ID
	}
	return ""
}

// Target is where a letter goes when it is replayed.
type Target struct {
	Stream   string
	Consumer string // which must exist
	Subject  string
}

// ErrCannotReplay is what every error of Target wraps.
var ErrCannotReplay = errors.New("it cannot be replayed")

// Target is where the letter goes: to its own trigger, or to another one of the
// namespace, which must be of the same kind.
func (l Letter) Target(to Trigger) (Target, error) {
	f, trigger := l.Function, l.Death.Trigger
	if to != (Trigger{}) {
		f.Name, trigger = to.Function, to.Name
	}
	switch {
	case l.Death.Cut > 0:
		return Target{}, fmt.Errorf("%w: the body of its message, of %d bytes, was not kept", ErrCannotReplay, l.Death.Cut)
	case l.Kind == Unknown:
		return Target{}, fmt.Errorf("%w: %q is of a kind that this version does not know", ErrCannotReplay, l.Death.Subject)
	case l.Kind == Event:
		return Target{names.Events(f.Namespace), names.Consumer(f.Name, trigger), names.EventRetry(f, trigger)}, nil
	case l.Kind == Call:
		return Target{names.Work(f.Namespace), names.Consumer(f.Name, trigger), names.Call(f, trigger, l.Call())}, nil
	case to != (Trigger{}):
		return Target{}, fmt.Errorf("%w to another trigger: only events and asynchronous requests can be, and its kind is %s", ErrCannotReplay, l.Kind)
	case l.Kind == Mail:
		return Target{names.Work(f.Namespace), names.MailConsumer, l.Death.Subject}, nil
	}
	return Target{names.Work(f.Namespace), names.Consumer(f.Name, trigger), names.Again(l.Death.Subject, f, trigger, l.Death.Origin)}, nil
}
