package envelope

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

var (
	offers = names.Function{Namespace: "coop", Name: "offers"}
	first  = time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC)
	now    = first.Add(time.Minute)
)

// storedEvent is an event as a consumer hands it out.
func storedEvent() *Message {
	return &Message{
		Subject: "ev.coop.member.joined", Sequence: 42, Stored: first, Body: []byte("data"),
		Header: Header{
			HeaderFormat: {Format}, "ce-id": {"1"}, "ce-type": {"member.joined"}, "Content-Type": {"text/plain"},
			"Nats-Msg-Id": {"e/1"}, "Nats-Schedule": {"@at never"}, "Nats-Schedule-Next": {"purge"}, "Nats-Scheduler": {"x"},
		},
	}
}

// delivered is a message as it comes out of the stream that keeps it: a schedule
// on its target, with the server's own headers.
func delivered(m *Message, sequence uint64) *Message {
	out := &Message{Subject: m.Subject, Header: maps.Clone(m.Header), Body: m.Body, Sequence: sequence, Stored: now}
	if target := m.Header.Get(headerScheduleTarget); target != "" {
		out.Subject = target
		out.Header["Nats-Scheduler"] = []string{m.Subject}
	}
	return out
}

// platform is the headers of the server.
func platform(h Header) (out []string) {
	for key := range h {
		if strings.HasPrefix(key, "Nats-") {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func TestProgress(t *testing.T) {
	retried := func(pairs ...string) Header {
		h := Header{HeaderFormat: {"1"}, HeaderOrigin: {"9"}, HeaderAttempt: {"2"}, HeaderTries: {"3"}, HeaderFirst: {"2026-01-02T03:04:05.678901234Z"}}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	const call, evt = "work.coop.call.offers.redeem.abc", "ev.coop.a.b"
	tests := map[string]struct {
		subject string
		header  Header
		want    Progress
		err     string
	}{
		"an event":       {evt, Header{HeaderFormat: {"1"}}, Progress{Origin: "42", First: now, Due: now}, ""},
		"a call":         {call, Header{HeaderFormat: {"1"}}, Progress{Origin: "abc", First: now, Due: now}, ""},
		"a mail":         {"work.coop.mail.offers.xyz", Header{HeaderFormat: {"1"}}, Progress{Origin: "xyz", First: now, Due: now}, ""},
		"a retry":        {"evretry.coop.offers.welcome.9", retried(), Progress{2, 3, "9", first, first, Try{}}, ""},
		"one replayed":   {"evretry.coop.offers.welcome.9", retried(HeaderDue, now.Format(time.RFC3339Nano)), Progress{2, 3, "9", first, now, Try{}}, ""},
		"a retry, told":  {"evretry.coop.offers.welcome.9", retried(HeaderLast, `{"status":502,"problem":"no","broke":5000000,"excuses":2}`), Progress{2, 3, "9", first, first, Try{502, "no", 5 * time.Millisecond, 2}}, ""},
		"bad last try":   {evt, retried(HeaderLast, "x"), Progress{}, HeaderLast},
		"no headers":     {evt, nil, Progress{}, `format ""`},
		"another format": {evt, Header{HeaderFormat: {"2"}}, Progress{}, `format "2"`},
		"no attempt":     {evt, retried(HeaderAttempt, ""), Progress{}, HeaderAttempt},
		"bad tries":      {evt, retried(HeaderTries, "x"), Progress{}, HeaderTries},
		"bad due":        {evt, retried(HeaderDue, "now"), Progress{}, HeaderDue},
		"bad first":      {evt, retried(HeaderFirst, "yesterday"), Progress{}, HeaderFirst},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := &Message{Subject: test.subject, Header: test.header, Sequence: 42, Stored: now}
			got, err := m.Progress()
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got the error %v, want one with %q", err, test.err)
				}
			case err != nil || got != test.want:
				t.Errorf("got %+v and %v, want %+v", got, err, test.want)
			}
		})
	}
}

// TestRetry puts an event off twice: it stays what it was, comes as far as is
// said, and carries no header of the server but its own schedule.
func TestRetry(t *testing.T) {
	m := storedEvent()
	target := names.EventDue(offers, "welcome")
	for tries := 1; tries <= 2; tries++ {
		before := maps.Clone(m.Header)
		p, err := m.Progress()
		if err != nil || p.Origin != "42" || !p.First.Equal(first) {
			t.Fatalf("got %+v, %v", p, err)
		}
		p.Attempts, p.Tries, p.Last = p.Attempts+1, p.Tries+1, Try{Status: 500 + tries, Problem: "it\nfailed"}
		due := now.Add(time.Duration(tries) * 1_000_000_007)
		r := Retry(m, target, p, due)
		if !maps.EqualFunc(m.Header, before, slices.Equal) {
			t.Errorf("the original's headers have become %v", m.Header)
		}
		if want := []string{headerSchedule, headerScheduleTarget}; !slices.Equal(platform(r.Header), want) {
			t.Errorf("it carries %v, want %v", platform(r.Header), want)
		}
		if at := r.Header.Get(headerSchedule); at != "@at "+due.Format(time.RFC3339Nano) || r.Header.Get(headerScheduleTarget) != target {
			t.Errorf("its schedule is %q on %q", at, r.Header.Get(headerScheduleTarget))
		}
		if r.Subject != "evsched.coop.offers.welcome.42" || r.ID != "r/"+target+"/42/"+string(rune('0'+tries)) {
			t.Errorf("its subject is %q, its id %q", r.Subject, r.ID)
		}
		m = delivered(Return(delivered(r, 99)), 100)
		if m.Subject != names.EventRetry(offers, "welcome") || m.ID == r.ID || len(platform(m.Header)) > 0 {
			t.Errorf("due, it returns on %q as %q with %v", m.Subject, m.ID, m.Header)
		}
		if got, err := m.Progress(); err != nil || got != p {
			t.Errorf("its progress is %+v, %v, want %+v", got, err, p)
		}
		if string(m.Body) != "data" || m.Header.Get("ce-id") != "1" || m.Header.Get("Content-Type") != "text/plain" || m.Header.Get("ce-type") != "member.joined" {
			t.Errorf("it has become %v, %q", m.Header, m.Body)
		}
	}
}

// TestRetryOfCall puts a call off: it comes back on its own subject.
func TestRetryOfCall(t *testing.T) {
	m := delivered(Call(offers, "redeem", "abc", Request{Method: "POST", Target: "/x"}, []byte("body")), 7)
	r := Retry(m, m.Subject, Progress{Attempts: 1, Tries: 1, Origin: "abc", First: first}, now)
	back := delivered(r, 8)
	if r.Subject != "worksched.coop.call.offers.redeem.abc" || back.Subject != m.Subject {
		t.Errorf("it waits on %q for %q", r.Subject, back.Subject)
	}
	if req, err := back.Request(); err != nil || req.Target != "/x" || string(back.Body) != "body" {
		t.Errorf("it came back as %+v, %v", req, err)
	}
}

// TestRetryID has each step an id of its own, and the same step always the same.
func TestRetryID(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range []*Message{
		Retry(storedEvent(), "evdue.coop.offers.welcome", Progress{Origin: "1", Tries: 1}, now),
		Retry(storedEvent(), "evdue.coop.offers.welcome", Progress{Origin: "1", Tries: 2, Attempts: 1}, now),
		Retry(storedEvent(), "evdue.coop.offers.welcome", Progress{Origin: "2", Tries: 1}, now),
		Retry(storedEvent(), "evdue.coop.other.welcome", Progress{Origin: "1", Tries: 1}, now),
		Retry(storedEvent(), "evdue.coop.offers.welcome", Progress{Origin: "1", Tries: 1}, now.Add(1)), // the first step again
	} {
		seen[m.ID] = true
	}
	if len(seen) != 4 {
		t.Errorf("four steps have the ids %v", seen)
	}
}

// TestHeaderFits has the headers of the largest messages stay below what the
// NATS server allows.
func TestHeaderFits(t *testing.T) {
	function := names.Function{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("f", 50)}
	trigger, id := strings.Repeat("t", 63), strings.Repeat("i", 26)
	problem := strings.Repeat("\x00", 1<<20)
	letter := DeadLetter{Trigger: trigger, Origin: id, Reason: "RetriesUsedUp", Message: problem, Attempts: 10_000, First: first, Died: now, Last: &LastResponse{Status: 599}}

	request := Request{Method: "OPTIONS", Host: "h", Target: "/?" + strings.Repeat("&", 40<<10), Header: map[string][]string{"X": {""}}}
	request.Header["X"][0] = strings.Repeat("<", MaxRequestHeader-len(Encode(request)))
	call := Call(function, trigger, id, request, nil)
	if got := len(call.Header.Get(HeaderRequest)); got != MaxRequestHeader {
		t.Fatalf("the request takes %d bytes", got)
	}
	evt := storedEvent()
	evt.Subject = names.EventSubject(function.Namespace, strings.Repeat("a", names.MaxEventType))
	evt.Header["ce-subject"] = []string{strings.Repeat("s", event.MaxAttributes)}
	answer := &Response{Status: 599, Header: http.Header{"X": {strings.Repeat("&", MaxResponseHeader-len(`{"X":[""]}`))}}}

	largest := map[string]*Message{
		"result": ResultMessage(function.Namespace, id, Result{State: DeadState, Message: problem, Response: answer}, nil),
	}
	for name, m := range map[string]*Message{"event": evt, "call": call} {
		largest[name] = m
		target, due := names.EventRetry(function, trigger), names.EventDue(function, trigger)
		largest[name+", put off"] = Retry(m, due, Progress{10_000, 1_000_000, id, first, first, Try{599, problem, time.Hour, 4}}, now)
		dead := delivered(Dead(delivered(largest[name+", put off"], 1), function, letter), 1<<63)
		again := Replay(dead, letter, nil, target, now)
		largest[name+", dead"], largest[name+", replayed"] = dead, again
		again = Retry(delivered(again, 1), due, Progress{10_000, 1_000_000, id, first, first, Try{599, problem, time.Hour, 4}}, now)
		largest[name+", replayed, dead"] = Dead(delivered(again, 1), function, letter)
	}
	for name, m := range largest {
		if got := wireSize(m); got >= 64<<10 {
			t.Errorf("the headers of the largest %s take %d bytes", name, got)
		}
	}
}

// wireSize is what the headers of a message take in NATS.
func wireSize(m *Message) int {
	size := len("NATS/1.0\r\n\r\n") + len("Nats-Msg-Id: \r\n") + len(m.ID)
	for key, values := range m.Header {
		for _, v := range values {
			size += len(key) + len(": ") + len(v) + len("\r\n")
		}
	}
	return size
}

// TestSpare checks that a spare is told from a retry, and that its retry is one.
func TestSpare(t *testing.T) {
	m := delivered(Call(offers, "redeem", "abc", Request{Method: "POST", Target: "/x"}, []byte("body")), 7)
	p := Progress{Attempts: 1, Tries: 1, Origin: "abc", First: first}
	spare := Spare(m, p, now)
	if due, err := spare.Due(); !spare.IsSpare() || spare.ID != "" || err != nil || !due.Equal(now) {
		t.Errorf("%+v, due %v, %v", spare, due, err)
	}
	if back := delivered(spare, 8); !back.IsSpare() || Retry(back, m.Subject, p, now).IsSpare() || m.IsSpare() {
		t.Error("a spare is not told from others")
	}
	if _, err := m.Due(); err == nil {
		t.Error("what is no schedule is due")
	}
}
