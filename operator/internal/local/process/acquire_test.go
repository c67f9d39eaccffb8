package process

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func TestCallsShareOneStart(t *testing.T) {
	w := newWorld(t)
	w.Set(offers, program("serve"))
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			lease, err := w.Acquire(t.Context(), offers)
			if err != nil {
				t.Error(err)
				return
			}
			lease.Release()
		})
	}
	calls.Wait()
	if issued := w.issued.Load(); issued != 1 {
		t.Errorf("%d processes were started, want 1", issued)
	}
}

func TestConcurrencyIsALimitAndAQueue(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Concurrency = 2
	w.Set(offers, p)
	first, second := w.acquire(t, offers), w.acquire(t, offers)

	granted := make(chan int)
	leases := make(chan invoke.Lease, 3)
	for n := range 3 {
		go func() {
			lease, err := w.Acquire(t.Context(), offers)
			if err != nil {
				t.Error(err)
			}
			leases <- lease
			granted <- n
		}()
		eventually(t, "the call waits", func() bool { return w.waiting(offers) == n+1 })
	}
	if got := w.Running()[0].InFlight; got != 2 {
		t.Errorf("%d in flight, want 2", got)
	}
	first.Release()
	if n := <-granted; n != 0 {
		t.Errorf("call %d was served first", n)
	}
	second.Release()
	if n := <-granted; n != 1 {
		t.Errorf("call %d was served second", n)
	}
	(<-leases).Release()
	if n := <-granted; n != 2 {
		t.Errorf("call %d was served third", n)
	}
	(<-leases).Release()
	(<-leases).Release()
	if got := w.Running()[0].InFlight; got != 0 {
		t.Errorf("%d in flight, want 0", got)
	}
}

// TestBacklogWaits checks that calls that somebody waits for go before a backlog,
// and that the backlog gets on all the same.
func TestBacklogWaits(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Concurrency = 1
	w.Set(offers, p)
	held := w.acquire(t, offers)

	type grant struct {
		name  string
		lease invoke.Lease
	}
	granted := make(chan grant)
	wait := func(name string, acquire func(context.Context, names.Function) (invoke.Lease, error)) {
		before := w.waiting(offers)
		go func() {
			lease, err := acquire(t.Context(), offers)
			if err != nil {
				t.Error(err)
			}
			granted <- grant{name, lease}
		}()
		eventually(t, "the call waits", func() bool { return w.waiting(offers) == before+1 })
	}
	for range 3 {
		wait("later", Background{w.Processes}.Acquire)
	}
	for range inARow + 1 {
		wait("first", w.Acquire)
	}
	want := append(slices.Repeat([]string{"first"}, inARow), "later", "first", "later", "later")
	var got []string
	for range want {
		held.Release()
		g := <-granted
		got, held = append(got, g.name), g.lease
	}
	held.Release()
	if !slices.Equal(got, want) {
		t.Errorf("served %q, want %q", got, want)
	}
}

func TestNoLimit(t *testing.T) {
	w := newWorld(t)
	w.Set(offers, program("serve"))
	for range 100 {
		w.acquire(t, offers)
	}
	if got := w.Running()[0].InFlight; got != 100 {
		t.Errorf("%d in flight, want 100", got)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Concurrency = 1
	w.Set(offers, p)
	held := w.acquire(t, offers)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := w.Acquire(ctx, offers)
		gone <- err
	}()
	eventually(t, "the call waits", func() bool { return w.waiting(offers) == 1 })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire: %v", err)
	}
	held.Release()
	w.acquire(t, offers).Release()
}

func TestUnknownAndNotBuilt(t *testing.T) {
	w := newWorld(t)
	notBuilt := &invoke.StartError{Function: offers, Reason: invoke.NotBuilt, Detail: "main.go:3: syntax error"}
	tests := []struct {
		name string
		do   func()
		want invoke.StartReason
	}{
		{"never set", func() {}, invoke.Unknown},
		{"build failed", func() { w.Fail(offers, notBuilt) }, invoke.NotBuilt},
		{"built at last", func() { w.Set(offers, program("serve")) }, ""},
		{"a later build failed", func() { w.Fail(offers, notBuilt) }, ""},
		{"removed", func() { w.Remove(offers) }, invoke.Unknown},
	}
	for _, test := range tests {
		test.do()
		lease, err := w.Acquire(t.Context(), offers)
		if test.want == "" {
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			lease.Release()
			continue
		}
		if got := startReason(err); got != test.want {
			t.Errorf("%s: reason %q, want %q (%v)", test.name, got, test.want, err)
		}
	}
	eventually(t, "the removed function's process ends", func() bool { return len(w.Running()) == 0 })
}

func startReason(err error) invoke.StartReason {
	var failed *invoke.StartError
	if !errors.As(err, &failed) {
		return ""
	}
	return failed.Reason
}

func TestIdleStopsAndTheNextCallStarts(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Idle = 30 * time.Millisecond
	w.Set(offers, p)
	for round := range 2 {
		lease := w.acquire(t, offers)
		pid := w.Running()[0].PID
		lease.Release()
		eventually(t, "the idle process ends", func() bool { return len(w.Running()) == 0 && !exists(pid) })
		if left := w.tokens(); len(left) > 0 {
			t.Errorf("round %d: tokens not revoked: %v", round, left)
		}
		if left := w.runFilesLeft(t); len(left) > 0 {
			t.Errorf("round %d: files left: %v", round, left)
		}
	}
}

func TestALeaseIsNotIdle(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Idle = 5 * time.Millisecond
	w.Set(offers, p)
	lease := w.acquire(t, offers)
	f := w.function(offers)
	for range 3 { // the idle time passes, as often as the timer may say so
		f.tick()
	}
	if got := get(t, lease, "/env/GREETING"); got != "hello" {
		t.Errorf("the function answered %q", got)
	}
	lease.Release()
	eventually(t, "the idle process ends", func() bool { return len(w.Running()) == 0 })
}

func TestMinimumRunsAndIsRevived(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Min, p.Idle = 1, time.Millisecond
	w.Set(offers, p)
	ready := func() bool { r := w.Running(); return len(r) == 1 && r[0].Ready }
	eventually(t, "the process starts without a call", ready)
	lease := w.acquire(t, offers)
	lease.Release()
	w.function(offers).tick()
	if !ready() {
		t.Fatal("it was stopped as idle")
	}
	lease = w.acquire(t, offers)
	_, _ = http.Get("http://" + lease.Address + "/die")
	lease.Release()
	eventually(t, "it is revived", func() bool { return w.issued.Load() == 2 && ready() })
}

func TestDeathInFlight(t *testing.T) {
	w := newWorld(t)
	w.Set(offers, program("serve"))
	lease := w.acquire(t, offers)
	if _, err := http.Get("http://" + lease.Address + "/die"); err == nil {
		t.Error("the call to a dying process succeeded")
	}
	<-lease.Ended
	eventually(t, "the death is seen", func() bool { return len(w.Running()) == 0 })
	again := w.acquire(t, offers)
	if got := get(t, again, "/env/GREETING"); got != "hello" {
		t.Errorf("the new process answered %q", got)
	}
	lease.Release()
	again.Release()
	if got := w.Running()[0].InFlight; got != 0 {
		t.Errorf("%d in flight, want 0", got)
	}
}

func TestWaitersSurviveADeath(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Concurrency = 1
	w.Set(offers, p)
	held := w.acquire(t, offers)
	granted := make(chan invoke.Lease)
	go func() {
		lease, err := w.Acquire(t.Context(), offers)
		if err != nil {
			t.Error(err)
		}
		granted <- lease
	}()
	eventually(t, "the call waits", func() bool { return w.waiting(offers) == 1 })
	_, _ = http.Get("http://" + held.Address + "/die")
	lease := <-granted
	if got := get(t, lease, "/env/GREETING"); got != "hello" {
		t.Errorf("the new process answered %q", got)
	}
	held.Release()
	lease.Release()
}

func TestReplaceWhileACallIsInFlight(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Revision, p.Concurrency = "offers-1", 1
	w.Set(offers, p)
	old := w.acquire(t, offers)
	granted := make(chan invoke.Lease)
	go func() {
		lease, err := w.Acquire(t.Context(), offers)
		if err != nil {
			t.Error(err)
		}
		granted <- lease
	}()
	eventually(t, "the call waits", func() bool { return w.waiting(offers) == 1 })

	w.Set(offers, p) // no change
	if w.waiting(offers) != 1 {
		t.Error("setting the same program again restarted it")
	}
	next := p
	next.Revision = "offers-2"
	w.Set(offers, next)
	lease := <-granted // although the old one's only slot is leased
	for want, l := range map[string]invoke.Lease{"offers-1": old, "offers-2": lease} {
		if got := get(t, l, "/env/K_REVISION"); got != want {
			t.Errorf("revision %q, want %q", got, want)
		}
		if got := get(t, l, "/file/SERVICEFUL_TOKEN_FILE"); got == "" {
			t.Errorf("revision %q has no token", want)
		}
	}
	old.Release()
	eventually(t, "the old process ends", func() bool { return len(w.Running()) == 1 })
	if got := get(t, lease, "/file/SERVICEFUL_TOKEN_FILE"); got != "token-offers-2" {
		t.Errorf("the new process's token is %q", got)
	}
	lease.Release()
}

func TestReplaceDuringAStart(t *testing.T) {
	w := newWorld(t)
	w.Set(offers, program("deaf"))
	granted := make(chan invoke.Lease)
	go func() {
		lease, err := w.Acquire(t.Context(), offers)
		if err != nil {
			t.Error(err)
		}
		granted <- lease
	}()
	eventually(t, "the first program starts", func() bool { return len(w.Running()) == 1 })
	w.Set(offers, program("serve"))
	lease := <-granted
	if got := get(t, lease, "/env/FUNCTION"); got != "serve" {
		t.Errorf("the call reached %q", got)
	}
	lease.Release()
	eventually(t, "the first program ends", func() bool { return len(w.Running()) == 1 })
}

func TestFunctionsAreApart(t *testing.T) {
	w := newWorld(t)
	members := names.Function{Namespace: "coop", Name: "membership"}
	w.Set(offers, program("serve"))
	w.Set(members, program("serve"))
	a, b := w.acquire(t, offers), w.acquire(t, members)
	defer a.Release()
	defer b.Release()
	if a.Address == b.Address {
		t.Errorf("both listen on %s", a.Address)
	}
	if got := get(t, b, "/env/K_SERVICE"); got != "membership" {
		t.Errorf("K_SERVICE is %q", got)
	}
	running := w.Running()
	if len(running) != 2 || running[0].Function != members || running[1].Function != offers || running[1].InFlight != 1 {
		t.Errorf("Running: %+v", running)
	}
}
