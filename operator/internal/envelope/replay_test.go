package envelope

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// bury is what comes out of the dead-letter stream for m.
func bury(m *Message, last *LastResponse, sequence uint64) *Message {
	p, _ := m.Progress()
	return delivered(Dead(m, offers, DeadLetter{Trigger: "welcome", Origin: p.Origin, Attempts: 5, First: p.First, Died: now, Last: last}), sequence)
}

func replay(t *testing.T, letter *Message, at time.Time) *Message {
	t.Helper()
	d, body, err := letter.DeadLetter()
	if err != nil {
		t.Fatal(err)
	}
	return delivered(Replay(letter, d, body, names.EventRetry(offers, "welcome"), at), 100)
}

// TestReplay has an event die, be replayed, be put off and die again, three times
// over: it stays what it was, begins anew each time, and no two steps have one
// id, or the second would be taken for the first and be lost.
func TestReplay(t *testing.T) {
	target := names.EventRetry(offers, "welcome")
	ids := map[string]bool{}
	m := storedEvent()
	for n := range 3 {
		p, err := m.Progress()
		if err != nil || p.Attempts != 0 || p.Tries != 0 || p.Origin != "42" || !p.First.Equal(first) || p.Last != (Try{}) || m.Replays() != n {
			t.Fatalf("after %d replays it has come as far as %+v, %v", n, p, err)
		}
		p.Attempts, p.Tries, p.Last = 1, 1, Try{Status: 500, Problem: "it failed"}
		retry := Retry(m, names.EventDue(offers, "welcome"), p, now)
		if late, err := delivered(retry, 99).Progress(); err != nil || late != p {
			t.Errorf("put off, it has come as far as %+v, %v, want %+v", late, err, p)
		}
		letter := bury(delivered(retry, 99), &LastResponse{Status: 500, Body: []byte("no")}, uint64(7+n))
		before := maps.Clone(letter.Header)
		at := now.Add(time.Duration(n) * time.Hour)
		m = replay(t, letter, at)
		if !maps.EqualFunc(letter.Header, before, slices.Equal) {
			t.Errorf("the letter's headers have become %v", letter.Header)
		}
		if p, err := m.Progress(); err != nil || !p.Due.Equal(at) {
			t.Errorf("replayed at %v, it is due at %v, %v", at, p.Due, err)
		}
		if string(m.Body) != "data" || m.Header.Get("ce-id") != "1" || m.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("it has become %v, %q", m.Header, m.Body)
		}
		for _, key := range []string{HeaderDead, HeaderLast, HeaderSpare} {
			if _, ok := m.Header[key]; ok || len(platform(m.Header)) > 0 {
				t.Errorf("it carries %v", m.Header)
			}
		}
		for _, id := range []string{retry.ID, Return(delivered(retry, 98)).ID, Dead(delivered(retry, 99), offers, DeadLetter{Trigger: "welcome", Origin: "42"}).ID, Replay(letter, DeadLetter{Origin: "42"}, nil, target, at).ID} {
			if ids[id] {
				t.Errorf("the id %s names two steps", id)
			}
			ids[id] = true
		}
	}
}

// TestReplayID has the same letter stored on two subjects be two messages.
func TestReplayID(t *testing.T) {
	letter := bury(storedEvent(), nil, 7)
	one, other := Replay(letter, DeadLetter{Origin: "42"}, nil, "a", now), Replay(letter, DeadLetter{Origin: "42"}, nil, "b", now)
	if again := Replay(letter, DeadLetter{Origin: "42"}, nil, "a", now.Add(time.Hour)); one.ID == other.ID || one.ID != again.ID {
		t.Errorf("the ids are %q, %q and, of the first step again, %q", one.ID, other.ID, again.ID)
	}
}

func TestAgain(t *testing.T) {
	m := storedEvent()
	before := maps.Clone(m.Header)
	target := names.EventRetry(offers, "welcome")
	again := Again(m, target, "42-run", now)
	p, err := delivered(again, 100).Progress()
	if want := (Progress{Origin: "42-run", First: first, Due: now}); err != nil || p != want {
		t.Errorf("it has come as far as %+v, %v, want %+v", p, err, want)
	}
	if again.Subject != target || again.ID == m.ID || again.ID == Again(m, target, "43-run", now).ID || again.Header.Get("ce-id") != "1" || string(again.Body) != "data" || len(platform(again.Header)) > 0 {
		t.Errorf("it has become %+v", again)
	}
	if !maps.EqualFunc(m.Header, before, slices.Equal) {
		t.Errorf("the original's headers have become %v", m.Header)
	}
}
