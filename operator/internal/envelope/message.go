package envelope

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// Format is the version of this package's form, in the header HeaderFormat.
const Format = "1"

// The headers of a stored message that are ours.
const (
	HeaderFormat  = "Serviceful-Format"  // "1"
	HeaderRequest = "Serviceful-Request" // JSON of Request
	HeaderAttempt = "Serviceful-Attempt" // calls made so far; absent: 0
	HeaderTries   = "Serviceful-Tries"   // times it was put off so far; absent: 0
	HeaderOrigin  = "Serviceful-Origin"  // what the message was at first: a stream sequence or an id
	HeaderFirst   = "Serviceful-First"   // RFC 3339, when it was first stored
	HeaderDue     = "Serviceful-Due"     // RFC 3339, when it was replayed; absent: it never was
	HeaderReplays = "Serviceful-Replays" // times it was replayed as a dead letter so far; absent: 0
	HeaderLast    = "Serviceful-Last"    // JSON of Try; absent: there was none
	HeaderResult  = "Serviceful-Result"  // JSON of Result
	HeaderDead    = "Serviceful-Dead"    // JSON of DeadLetter
	HeaderRecord  = "Serviceful-Record"  // JSON of an idempotency record
	HeaderSpare   = "Serviceful-Spare"   // "1" on a spare
	HeaderHops    = "Serviceful-Hops"    // of an event, which package event writes; absent: 0
)

// Header is the headers of a message; keys are used exactly as they are.
type Header map[string][]string

// Get is the first value of a key, or "".
func (h Header) Get(key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set replaces the values of a key.
func (h Header) Set(key, value string) { h[key] = []string{value} }

// Message is a message as it is stored, or is to be.
type Message struct {
	Subject  string
	Header   Header
	Body     []byte
	ID       string    // of the step that stores it (Nats-Msg-Id); "" for none
	Sequence uint64    // in its stream; 0 until it is stored
	Stored   time.Time // when; zero until it is stored
}

// New is a message in this package's form.
func New(subject string, body []byte) *Message {
	return &Message{Subject: subject, Header: Header{HeaderFormat: {Format}}, Body: body}
}

// Progress is how far a message has come.
type Progress struct {
	Attempts int // calls that count
	Tries    int // times it was put off
	Origin   string
	First    time.Time
	Due      time.Time // from when its age counts: First, or when it was replayed
	Last     Try
}

// Alone reports whether the message may share no call with others: it was called
// before, and if it is its fault that it is not done, no other is to pay for it again.
func (p Progress) Alone() bool { return p.Attempts > 0 || p.Last.Broke > 0 }

// Try is how the last try of a message went.
type Try struct {
	Status  int    `json:"status,omitempty"` // of the last call's answer; 0: there was none
	Problem string `json:"problem"`          // in one sentence
	// Broke is how long the last call lasted when its connection broke; 0: it did not.
	Broke time.Duration `json:"broke,omitempty"`
	// Excuses is how many calls in a row broke off and do not count, up to the last.
	Excuses int `json:"excuses,omitempty"`
}

// Progress reads how far m has come. A message that was never put off is its
// own origin: the id its subject ends in, or its stream sequence.
func (m *Message) Progress() (Progress, error) {
	if f := m.Header.Get(HeaderFormat); f != Format {
		return Progress{}, fmt.Errorf("the message has format %q, not %q", f, Format)
	}
	p := Progress{Origin: m.Header.Get(HeaderOrigin), First: m.Stored, Due: m.Stored}
	if p.Origin == "" {
		p.Origin = strconv.FormatUint(m.Sequence, 10)
		if item, ok := names.ParseWork(m.Subject); ok {
			p.Origin = item.ID
		}
		return p, nil
	}
	var err error
	if p.Attempts, err = strconv.Atoi(m.Header.Get(HeaderAttempt)); err != nil {
		return p, fmt.Errorf("reading %s: %w", HeaderAttempt, err)
	}
	if p.Tries, err = strconv.Atoi(m.Header.Get(HeaderTries)); err != nil {
		return p, fmt.Errorf("reading %s: %w", HeaderTries, err)
	}
	if p.First, err = time.Parse(time.RFC3339Nano, m.Header.Get(HeaderFirst)); err != nil {
		return p, fmt.Errorf("reading %s: %w", HeaderFirst, err)
	}
	p.Due = p.First
	if due := m.Header.Get(HeaderDue); due != "" {
		if p.Due, err = time.Parse(time.RFC3339Nano, due); err != nil {
			return p, fmt.Errorf("reading %s: %w", HeaderDue, err)
		}
	}
	if m.Header.Get(HeaderLast) == "" {
		return p, nil
	}
	return p, getJSON(m.Header, HeaderLast, &p.Last)
}

// The schedule headers of the NATS server (ADR-51). The time is written to the
// nanosecond: nats.go's own option cuts it to seconds, and the message is early.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
)

// Retry is the copy of m that is stored as a schedule: due at the given time on
// the subject target, having come as far as p. Storing it twice stores it once.
func Retry(m *Message, target string, p Progress, due time.Time) *Message {
	h := carried(m.Header)
	delete(h, HeaderSpare)
	h.Set(HeaderAttempt, strconv.Itoa(p.Attempts))
	h.Set(HeaderTries, strconv.Itoa(p.Tries))
	h.Set(HeaderOrigin, p.Origin)
	h.Set(HeaderFirst, p.First.UTC().Format(time.RFC3339Nano))
	if p.Last != (Try{}) {
		setJSON(h, HeaderLast, Try{p.Last.Status, cut(p.Last.Problem, maxProblem), p.Last.Broke, p.Last.Excuses})
	}
	out := &Message{Subject: target, Header: h, Body: m.Body, ID: retryID(m, target, p)}
	out.PutOff(due)
	return out
}

// retryID names the step that has m be on target again. One that was replayed begins
// anew, at try 1, and is not the message that was put off before.
func retryID(m *Message, target string, p Progress) string {
	id := "r/" + target + "/" + p.Origin + "/"
	if n := m.Replays(); n > 0 {
		id += strconv.Itoa(n) + "/"
	}
	return id + strconv.Itoa(p.Tries)
}

// Return is the copy of a retry that has fallen due, to be stored in the event log.
// Storing it twice stores it once.
func Return(m *Message) *Message {
	out := &Message{Subject: names.Returned(m.Subject), Header: carried(m.Header), Body: m.Body}
	if p, err := m.Progress(); err == nil { // else it is dead where it goes
		out.ID = retryID(m, out.Subject, p)
	}
	return out
}

// PutOff makes of a message that is to be stored a schedule, by which the server
// stores it when it is due.
func (m *Message) PutOff(due time.Time) {
	m.Header.Set(headerSchedule, "@at "+due.UTC().Format(time.RFC3339Nano))
	m.Header.Set(headerScheduleTarget, m.Subject)
	m.Subject = names.Waiting(m.Subject, m.Header.Get(HeaderOrigin))
}

// Spare is a copy of a call, to be made at the given time if the call has not
// ended by then: what is left of one that was removed but may be under way.
func Spare(m *Message, p Progress, due time.Time) *Message {
	spare := Retry(m, m.Subject, p, due)
	spare.ID = ""
	spare.Header.Set(HeaderSpare, "1")
	return spare
}

// IsSpare reports whether m is a spare, waiting or due.
func (m *Message) IsSpare() bool { return m.Header.Get(HeaderSpare) != "" }

// Due is when a schedule is due.
func (m *Message) Due() (time.Time, error) {
	at, _ := strings.CutPrefix(m.Header.Get(headerSchedule), "@at ")
	due, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return due, fmt.Errorf("reading %s: %w", headerSchedule, err)
	}
	return due, nil
}

// carried is the headers that a copy of a message keeps: all but the server's.
func carried(h Header) Header {
	out := make(Header, len(h)+6)
	maps.Copy(out, h)
	maps.DeleteFunc(out, func(key string, _ []string) bool { return strings.HasPrefix(key, "Nats-") })
	return out
}

// The most bytes of a sentence for a person that a header keeps: at the end of a
// message, and on its way.
const (
	maxMessage = 2 << 10
	maxProblem = 512
)

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// setJSON keeps v in a header.
func setJSON(h Header, key string, v any) { h.Set(key, Encode(v)) }

// Encode is v in JSON as it is stored, no larger than it must be. v is a struct that
// always can be encoded: of texts, numbers and valid JSON.
func Encode(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it would make six bytes of each & of a query
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("envelope: encoding %T: %v", v, err))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func getJSON(h Header, key string, v any) error {
	if err := json.Unmarshal([]byte(h.Get(key)), v); err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	return nil
}
