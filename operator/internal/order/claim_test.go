package order

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

const term = time.Second

// world is a store of one claim, contenders with clocks of their own, and what
// happens between them, in true time.
type world struct {
	r       *rand.Rand
	now     time.Duration
	pending events
	stored  Claim
	all     []*actor
	takings int
}

type event struct {
	at time.Duration
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

func (w *world) after(d time.Duration, do func()) { heap.Push(&w.pending, event{w.now + d, do}) }

// way is how long a message takes, mostly little.
func (w *world) way() time.Duration {
	if w.r.IntN(10) == 0 {
		return time.Duration(w.r.Int64N(int64(2 * term)))
	}
	return time.Duration(w.r.Int64N(int64(20 * time.Millisecond)))
}

// actor is a contender with a clock that is wrong, and that may stand still.
type actor struct {
	*Contender
	w    *world
	rate float64
	off  time.Duration
	busy bool // waits for an answer
}

func (a *actor) clock() time.Time {
	return epoch.Add(a.off + time.Duration(float64(a.w.now)*a.rate))
}

func (a *actor) holds() bool { return a.clock().Before(a.Until()) }

// turn is what a dispatcher does every now and then.
func (a *actor) turn() {
	pause := term/6 + time.Duration(a.w.r.Int64N(int64(term/20)))
	if a.w.r.IntN(20) == 0 { // it was suspended
		pause = time.Duration(a.w.r.Int64N(int64(3 * term)))
	}
	a.w.after(pause, a.turn)
	if a.busy {
		return
	}
	a.busy = true
	if a.MayStore(a.clock()) && (a.holds() || a.w.r.IntN(2) == 0) {
		a.store()
		return
	}
	a.w.after(a.w.way(), func() {
		seen := a.w.stored
		a.answer(func() { a.Read(seen, a.clock()) })
	})
}

func (a *actor) store() {
	asked, revision, leave := a.clock(), a.Revision(), a.holds() && a.w.r.IntN(10) == 0
	claim := Claim{Holder: a.ID}
	if leave {
		a.Leave()
		claim.Holder = ""
	}
	a.w.after(a.w.way(), func() {
		if a.w.stored.Revision != revision {
			seen := a.w.stored
			a.answer(func() { a.Read(seen, a.clock()) })
			return
		}
		if a.w.stored.Holder != claim.Holder && !leave {
			a.w.takings++
		}
		claim.Revision = revision + 1
		a.w.stored = claim
		a.answer(func() {
			if leave {
				a.Read(claim, a.clock())
			} else {
				a.Stored(claim.Revision, asked)
			}
		})
	})
}

// answer brings an answer back, unless it gets lost; then the actor goes on after
// a while, and does not take it any more.
func (a *actor) answer(take func()) {
	if a.w.r.IntN(10) == 0 {
		a.w.after(term/5, func() { a.busy = false })
		return
	}
	a.w.after(a.w.way(), func() {
		take()
		a.busy = false
	})
}

// TestOneHolds lets messages be late or lost, and clocks and processes go as they
// like: two never hold the claim at once, and it is held again and again.
func TestOneHolds(t *testing.T) {
	for seed := range uint64(100) {
		w := &world{r: rand.New(rand.NewPCG(seed, 1))}
		for i := range 3 {
			a := &actor{
				Contender: &Contender{ID: fmt.Sprint("c", i), Term: term}, w: w,
				rate: 0.85 + 0.3*w.r.Float64(), off: time.Duration(w.r.Int64N(int64(time.Hour))),
			}
			w.all = append(w.all, a)
			w.after(w.way(), a.turn)
		}
		held := 0
		for w.now < 100*term {
			e := heap.Pop(&w.pending).(event)
			w.now = e.at
			e.do()
			holders := 0
			for _, a := range w.all {
				if a.holds() {
					holders++
				}
			}
			if holders > 1 {
				t.Fatalf("seed %d: %d hold the claim after %v", seed, holders, w.now)
			}
			held += holders
		}
		if held == 0 || w.takings < 3 {
			t.Fatalf("seed %d: it was held in %d moments, and taken %d times", seed, held, w.takings)
		}
	}
}

func TestContender(t *testing.T) {
	c := &Contender{ID: "me", Term: term}
	at := epoch.Add
	if c.MayStore(epoch) {
		t.Error("it may store before it has read")
	}
	c.Read(Claim{Holder: "other", Revision: 7}, epoch)
	c.Read(Claim{Holder: "other", Revision: 7}, at(term/2))
	if c.MayStore(at(term-1)) || !c.MayStore(at(term)) {
		t.Error("another's claim is taken when it was the same for a term")
	}
	c.Read(Claim{Holder: "other", Revision: 8}, at(term))
	if c.MayStore(at(2*term - 1)) {
		t.Error("a claim that was renewed is taken")
	}
	c.Read(Claim{Revision: 9}, at(term))
	if !c.MayStore(at(term)) || c.Revision() != 9 {
		t.Error("a claim that is nobody's is not taken")
	}
	c.Stored(10, at(term))
	if want := at(term + term/2); !c.Until().Equal(want) || !c.MayStore(want) || c.Revision() != 10 {
		t.Errorf("it holds until %v, want %v", c.Until(), want)
	}
	c.Read(Claim{Holder: "me", Revision: 11}, at(term+1)) // its own, the answer was lost
	if !c.MayStore(at(term+1)) || c.Until().IsZero() {
		t.Error("its own claim is not renewed")
	}
	c.Read(Claim{Holder: "other", Revision: 12}, at(term+1))
	if !c.Until().IsZero() {
		t.Error("it holds what is another's")
	}
}
