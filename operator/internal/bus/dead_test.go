package bus_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dead"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// bury makes a dead letter of a message.
func bury(t *testing.T, b *bus.Bus, m *envelope.Message, trigger, reason string) {
	t.Helper()
	end := bus.Ending{
		Function: offers, Trigger: trigger, Now: time.Now(),
		Verdict: delivery.Verdict{Action: delivery.Die, Attempts: 5, Reason: reason, Message: "it did not work"},
		Last:    &envelope.Answer{Status: 500, Body: []byte("no")},
	}
	if err := b.Bury(t.Context(), m, end); err != nil {
		t.Fatal(err)
	}
}

// letters are the ids of the dead letters that a filter means, oldest first.
func letters(t *testing.T, b *bus.Bus, f dead.Filter) (out []dead.ID) {
	t.Helper()
	err := b.Letters(t.Context(), shop, f, func(l dead.Letter) error {
		out = append(out, l.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func letter(t *testing.T, b *bus.Bus, id dead.ID) dead.Letter {
	t.Helper()
	l, err := b.Letter(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// replay replays the only dead letter there is, and returns it.
func replay(t *testing.T, b *bus.Bus, to dead.Trigger) dead.Letter {
	t.Helper()
	all := letters(t, b, dead.Filter{})
	if len(all) != 1 {
		t.Fatalf("dead letters %v", all)
	}
	l := letter(t, b, all[0])
	if sent, err := b.Replay(t.Context(), l, to, time.Now()); err != nil || !sent {
		t.Fatalf("replayed: %v, %v", sent, err)
	}
	if left := letters(t, b, dead.Filter{}); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	return l
}

// TestDieAgain replays an event again and again, and each time it is put off and
// dies within the duplicate window: each death leaves a letter.
func TestDieAgain(t *testing.T) {
	b := start(t, onEvent("welcome", "a.b"))
	relayRetries(t, b)
	publish(t, b, newEvent("a.b", "1"))
	for n := range 4 {
		d := receive(t, b, "EV_shop", "offers_welcome", 1)[0]
		p, err := d.Progress()
		if err != nil || p.Attempts != 0 || p.Tries != 0 || d.Replays() != n || d.Header.Get("ce-id") != "1" || string(d.Body) != "data of 1" {
			t.Fatalf("after %d replays it is %+v, %v, with %v", n, p, err, d.Header)
		}
		p.Attempts, p.Tries = 1, 1
		store(t, b, retried(&d.Message, names.EventDue(offers, "welcome"), p, time.Now()))
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
		d = receive(t, b, "EV_shop", "offers_welcome", 1)[0]
		bury(t, b, &d.Message, "welcome", delivery.ReasonRetriesUsedUp)
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
		l := replay(t, b, dead.Trigger{})
		if l.Stored.Replays() != n || l.Death.Origin != "1" || l.Type != "a.b" || l.Kind != dead.Event || !l.Death.First.Equal(p.First) {
			t.Errorf("letter %+v after %d replays", l.Death, n)
		}
	}
}

// TestReplayIsDueNow has a message that died of age be as young as its replay.
func TestReplayIsDueNow(t *testing.T) {
	b := start(t, onEvent("welcome", "a.b"))
	publish(t, b, newEvent("a.b", "1"))
	d := receive(t, b, "EV_shop", "offers_welcome", 1)[0]
	old := d.Message
	old.Stored = time.Now().Add(-72 * time.Hour)
	bury(t, b, &old, "welcome", delivery.ReasonMaxAge)
	if err := d.Ack(); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	replay(t, b, dead.Trigger{})
	p, err := receive(t, b, "EV_shop", "offers_welcome", 1)[0].Progress()
	if err != nil || p.Due.Before(before) || !p.First.Equal(old.Stored) {
		t.Errorf("it is %+v, %v; it was replayed at %v", p, err, before)
	}
}

func TestReplayCall(t *testing.T) {
	b := start(t, onCall("redeem"))
	bury(t, b, call("1", "body"), "redeem", delivery.ReasonRetriesUsedUp)
	l := replay(t, b, dead.Trigger{})
	if l.Kind != dead.Call || l.Call() != "1" {
		t.Errorf("a letter of kind %s, call %q", l.Kind, l.Call())
	}
	if c, err := b.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.Queued {
		t.Errorf("the call is %+v, %v", c.Result, err)
	}
	d := receive(t, b, "WORK_shop", "offers_redeem", 1)[0]
	if r, err := d.Request(); err != nil || r.Target != "/redeem" || string(d.Body) != "body" {
		t.Errorf("the call is %+v, %q, %v", r, d.Body, err)
	}
	bury(t, b, &d.Message, "redeem", delivery.ReasonRetriesUsedUp)
	if c, err := b.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.DeadState {
		t.Errorf("dead again, the call is %+v, %v", c.Result, err)
	}
	if all := letters(t, b, dead.Filter{}); len(all) != 1 {
		t.Errorf("dead again, it has left %v", all)
	}
}

// TestReplayOfACallThatGoesOn has a letter be all that is left of a call's death:
// the call is not made once more.
func TestReplayOfACallThatGoesOn(t *testing.T) {
	tests := map[string]func(*testing.T, *bus.Bus){
		"it has succeeded": func(t *testing.T, b *bus.Bus) {
			item, _ := names.ParseWork(call("1", "").Subject)
			if err := b.StoreResult(t.Context(), item, envelope.Succeeded, bus.Ending{Function: offers, Trigger: "redeem", Now: time.Now()}); err != nil {
				t.Fatal(err)
			}
		},
		"it waits": func(t *testing.T, b *bus.Bus) { // its replay was cut short before the letter went
			l := letter(t, b, letters(t, b, dead.Filter{})[0])
			if _, err := b.Replay(t.Context(), l, dead.Trigger{}, time.Now()); err != nil {
				t.Fatal(err)
			}
			again := *l.Stored
			maps.DeleteFunc(again.Header, func(key string, _ []string) bool { return strings.HasPrefix(key, "Nats-") })
			store(t, b, &again)
		},
	}
	for name, meanwhile := range tests {
		t.Run(name, func(t *testing.T) {
			s := natstest.Server(t)
			b := natstest.Connect(t, s)
			layOut(t, b, onCall("redeem"))
			bury(t, b, call("1", "body"), "redeem", delivery.ReasonRetriesUsedUp)
			meanwhile(t, b)
			before := messages(t, s, "WORK_shop")
			l := letter(t, b, letters(t, b, dead.Filter{})[0])
			if sent, err := b.Replay(t.Context(), l, dead.Trigger{}, time.Now()); err != nil || sent {
				t.Errorf("replayed: %v, %v", sent, err)
			}
			if left, after := letters(t, b, dead.Filter{}), messages(t, s, "WORK_shop"); len(left) > 0 || after != before {
				t.Errorf("left are %v, and %d calls, before %d", left, after, before)
			}
		})
	}
}

// messages is how many messages a stream holds.
func messages(t *testing.T, s *bus.Embedded, stream string) uint64 {
	t.Helper()
	info, err := raw(t, s).Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return info.CachedInfo().State.Msgs
}

func TestReplayMail(t *testing.T) {
	b := start(t)
	bury(t, b, envelope.New(names.Mail(offers, "1"), []byte("a mail")), names.MailTrigger, delivery.ReasonMaxAge)
	l := letter(t, b, letters(t, b, dead.Filter{})[0])
	if _, err := b.Replay(t.Context(), l, dead.Trigger{Function: "offers", Name: "welcome"}, time.Now()); !errors.Is(err, dead.ErrCannotReplay) {
		t.Errorf("a mail to a trigger: %v", err)
	}
	replay(t, b, dead.Trigger{})
	d := receive(t, b, "WORK_shop", "mail", 1)[0]
	if d.Subject != names.Mail(offers, "1") || string(d.Body) != "a mail" {
		t.Errorf("%s %q", d.Subject, d.Body)
	}
}

// TestReplayToNobody refuses what nobody would take, and keeps the letter.
func TestReplayToNobody(t *testing.T) {
	b := start(t, onCall("redeem"), onEvent("welcome", "a.b"))
	publish(t, b, newEvent("a.b", "1"))
	bury(t, b, stored(t, b, "EV_shop", "ev.>")[0], "gone", delivery.ReasonTriggerRemoved)
	bury(t, b, call("c1", ""), "gone", delivery.ReasonTriggerRemoved)
	for i, tos := range [][]dead.Trigger{
		{{}, {Function: "offers", Name: "redeem"}, {Function: "other", Name: "welcome"}},
		{{}, {Function: "offers", Name: "welcome"}},
	} {
		for _, to := range tos {
			l := letter(t, b, letters(t, b, dead.Filter{})[i])
			if sent, err := b.Replay(t.Context(), l, to, time.Now()); !errors.Is(err, bus.ErrNoTrigger) || sent {
				t.Errorf("a %s to %v: %v, %v", l.Kind, to, sent, err)
			}
		}
	}
	if left := letters(t, b, dead.Filter{}); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
	for i, to := range []dead.Trigger{{Function: "offers", Name: "welcome"}, {Function: "offers", Name: "redeem"}} {
		l := letter(t, b, letters(t, b, dead.Filter{})[0])
		if sent, err := b.Replay(t.Context(), l, to, time.Now()); err != nil || !sent {
			t.Errorf("letter %d to %v: %v, %v", i, to, sent, err)
		}
	}
	if d := receive(t, b, "EV_shop", "offers_welcome", 2)[1]; d.Subject != names.EventRetry(offers, "welcome") {
		t.Errorf("the event came on %s", d.Subject)
	}
	if d := receive(t, b, "WORK_shop", "offers_redeem", 1)[0]; d.Subject != call("c1", "").Subject {
		t.Errorf("the call came on %s", d.Subject)
	}
}

func TestLetters(t *testing.T) {
	b := start(t, onCall("redeem"), onEvent("welcome", "a.b"))
	publish(t, b, newEvent("a.b", "1"))
	bury(t, b, stored(t, b, "EV_shop", "ev.>")[0], "welcome", delivery.ReasonMaxAge)
	bury(t, b, call("1", "body"), "redeem", delivery.ReasonRetriesUsedUp)
	tests := map[string]struct {
		filter dead.Filter
		want   int
	}{
		"all":            {dead.Filter{}, 2},
		"of a trigger":   {dead.Filter{Function: "offers", Trigger: "redeem"}, 1},
		"of a type":      {dead.Filter{Types: []string{"a.*"}}, 1},
		"of a reason":    {dead.Filter{Reasons: []string{delivery.ReasonMaxAge}}, 1},
		"of a time":      {dead.Filter{Until: time.Now().Add(-time.Hour)}, 0},
		"of no function": {dead.Filter{Function: "other"}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := letters(t, b, test.filter); len(got) != test.want {
				t.Errorf("got %v, want %d", got, test.want)
			}
		})
	}
	l := letter(t, b, letters(t, b, dead.Filter{Trigger: "redeem"})[0])
	if string(l.Body) != "body" || l.Death.Last == nil || string(l.Death.Last.Body) != "no" {
		t.Errorf("the letter is %+v with %q", l.Death, l.Body)
	}
	if err := b.DeleteLetter(t.Context(), l.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Letter(t.Context(), l.ID); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a letter that is gone: %v", err)
	}
	if err := b.DeleteLetter(t.Context(), l.ID); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("gone twice: %v", err)
	}
	if err := b.Letters(t.Context(), "elsewhere", dead.Filter{}, nil); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a namespace that is not there: %v", err)
	}
}

// TestReplayWithoutABody refuses to send an empty message for one whose body the
// store did not take.
func TestReplayWithoutABody(t *testing.T) {
	b := start(t, onCall("redeem"))
	large := call("1", strings.Repeat("x", bus.MaxPayload))
	bury(t, b, large, "redeem", delivery.ReasonRetriesUsedUp)
	l := letter(t, b, letters(t, b, dead.Filter{})[0])
	if l.Death.Cut != bus.MaxPayload {
		t.Errorf("it says that %d bytes are gone", l.Death.Cut)
	}
	if _, err := b.Replay(t.Context(), l, dead.Trigger{}, time.Now()); !errors.Is(err, dead.ErrCannotReplay) {
		t.Errorf("replayed: %v", err)
	}
}

// fuse is a connection that breaks for good after some writes.
type fuse struct {
	net.Conn
	left *atomic.Int64
}

func (f fuse) Write(p []byte) (int, error) {
	if f.left.Add(-1) < 0 {
		_ = f.Conn.Close()
		return 0, net.ErrClosed
	}
	return f.Conn.Write(p)
}

// TestReplayCutShort replays events and calls with connections that break after
// a random number of writes, as when the program is killed. Nothing is lost at
// any time: each is a letter still, or was stored again, or both; and in the end
// each has come once at least, whole and as itself.
func TestReplayCutShort(t *testing.T) {
	const each = 20
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOut(t, b, onCall("redeem"), onEvent("welcome", "a.b"))
	for i := range each {
		publish(t, b, newEvent("a.b", fmt.Sprint(i)))
		bury(t, b, call(fmt.Sprint(i), "call"), "redeem", delivery.ReasonRetriesUsedUp)
	}
	for _, m := range stored(t, b, "EV_shop", "ev.shop.>") {
		bury(t, b, m, "welcome", delivery.ReasonRejected)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { _ = s.Serve(l) }()

	cuts := 0
	for seed := uint64(0); len(letters(t, b, dead.Filter{})) > 0; seed++ {
		left := new(atomic.Int64)
		left.Store(3 + rand.New(rand.NewPCG(seed, 1)).Int64N(60))
		nc, err := bus.Dial(bus.DialConfig{Dial: func() (net.Conn, error) {
			if left.Load() < 0 {
				return nil, net.ErrClosed
			}
			c, err := net.Dial("tcp", l.Addr().String())
			return fuse{c, left}, err
		}})
		if err != nil {
			continue // it did not come that far
		}
		if !replayUntilCut(t, nc) {
			cuts++
		}
		nc.Close()
		checkNothingLost(t, b, each)
	}
	if cuts == 0 {
		t.Error("it was never cut short")
	}
	if left := letters(t, b, dead.Filter{}); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// replayUntilCut replays all letters; it returns false when it was cut short.
func replayUntilCut(t *testing.T, nc *nats.Conn) bool {
	b, err := bus.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	ctx := t.Context()
	go func() {
		for nc.IsConnected() {
			time.Sleep(time.Millisecond)
		}
		nc.Close()
		close(closed)
	}()
	defer func() {
		nc.Close()
		<-closed
	}()
	var all []dead.ID
	if err := b.Letters(ctx, shop, dead.Filter{}, func(l dead.Letter) error { all = append(all, l.ID); return nil }); err != nil {
		return false
	}
	for _, id := range all {
		l, err := b.Letter(ctx, id)
		if err == nil {
			_, err = b.Replay(ctx, l, dead.Trigger{}, time.Now())
		}
		if err != nil {
			return false
		}
	}
	return true
}

func checkNothingLost(t *testing.T, b *bus.Bus, each int) {
	t.Helper()
	there := map[string]bool{}
	err := b.Letters(t.Context(), shop, dead.Filter{}, func(l dead.Letter) error {
		there[string(l.Kind)+l.Stored.Header.Get("ce-id")+l.Call()] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range stored(t, b, "EV_shop", "evretry.shop.offers.welcome") {
		if id := m.Header.Get("ce-id"); string(m.Body) == "data of "+id {
			there["event"+id] = true
		}
	}
	for i := range each {
		if m, err := b.Last(t.Context(), "WORK_shop", call(fmt.Sprint(i), "").Subject); err == nil && string(m.Body) == "call" {
			there["call"+fmt.Sprint(i)] = true
		}
	}
	for i := range each {
		for _, kind := range []string{"event", "call"} {
			if !there[kind+fmt.Sprint(i)] {
				t.Fatalf("%s %d is lost", kind, i)
			}
		}
	}
}
