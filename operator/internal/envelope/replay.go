package envelope

import (
	"fmt"
	"strconv"
	"time"
)

// Replays is how often m was replayed as a dead letter.
func (m *Message) Replays() int {
	n, err := strconv.Atoi(m.Header.Get(HeaderReplays))
	if err != nil {
		return 0
	}
	return n
}

// Replay is the message that a dead letter keeps, to be stored on target again:
// the same event, call or mail, due now, with all its attempts before it. letter
// is the stored letter, d and body what its DeadLetter method read. Storing it
// twice stores it once.
func Replay(letter *Message, d DeadLetter, body []byte, target string, now time.Time) *Message {
	h := anew(letter.Header, d.Origin, d.First, now)
	h.Set(HeaderReplays, strconv.Itoa(letter.Replays()+1))
	return &Message{Subject: target, Header: h, Body: body, ID: fmt.Sprintf("p/%d/%s", letter.Sequence, target)}
}

// Again is a message of the log, to be stored on target once more by a run that
// sends a part of the log again. origin is of this run alone, so that the copy
// and the message itself, which may be under way still, never take each other's
// place.
func Again(m *Message, target, origin string, now time.Time) *Message {
	return &Message{Subject: target, Header: anew(m.Header, origin, m.Stored, now), Body: m.Body, ID: "h/" + target + "/" + origin}
}

// anew is the headers of a message that has all its attempts, and hops, before it.
func anew(from Header, origin string, first, due time.Time) Header {
	h := carried(from)
	for _, key := range [...]string{HeaderLast, HeaderSpare, HeaderDead, HeaderHops} {
		delete(h, key)
	}
	h.Set(HeaderAttempt, "0")
	h.Set(HeaderTries, "0")
	h.Set(HeaderOrigin, origin)
	h.Set(HeaderFirst, first.UTC().Format(time.RFC3339Nano))
	h.Set(HeaderDue, due.UTC().Format(time.RFC3339Nano))
	return h
}
