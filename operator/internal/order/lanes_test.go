package order

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestLanes(t *testing.T) {
	l := NewLanes[string]()
	next := func(want string) {
		t.Helper()
		got, ok := l.Next(epoch)
		if got != want || ok != (want != "") {
			t.Fatalf("the next is %q, %v, want %q", got, ok, want)
		}
	}
	for i, m := range []string{"a1", "a2", "b3", "4", "5", "a6"} {
		value := ""
		if len(m) > 1 {
			value = m[:1]
		}
		if !l.Add(uint64(i+1), value, m) || l.Add(uint64(i+1), value, "again") {
			t.Fatalf("%s: a message is new once", m)
		}
	}
	next("a1")
	next("b3")
	next("4")
	next("5")
	next("")
	l.Again(1, epoch.Add(time.Second)) // it fails, and blocks its own value alone
	l.Done(3)
	next("")
	if w := l.Wake(); !w.Equal(epoch.Add(time.Second)) {
		t.Errorf("it wakes at %v", w)
	}
	if got, ok := l.Next(epoch.Add(time.Second)); got != "a1" || !ok {
		t.Errorf("when its time has come, the next is %q", got)
	}
	l.Done(1)
	next("a2")
	if m, ok := l.Get(6); m != "a6" || !ok || l.Len() != 4 {
		t.Errorf("held: %d, %q, %v", l.Len(), m, ok)
	}
	if _, ok := l.Get(1); ok {
		t.Error("a settled message is held")
	}
}

// A message that comes late, because somebody else had it, is still called before
// those behind it.
func TestLanesTakeLateOnes(t *testing.T) {
	l := NewLanes[int]()
	for _, seq := range []uint64{5, 3, 7} {
		l.Add(seq, "a", int(seq))
	}
	if m, _ := l.Next(epoch); m != 3 {
		t.Fatalf("the first is %d", m)
	}
	l.Add(2, "a", 2)
	if m, ok := l.Next(epoch); ok {
		t.Fatalf("%d is called beside another of its value", m)
	}
	l.Done(3)
	for _, want := range []int{2, 5, 7} {
		if m, _ := l.Next(epoch); m != want {
			t.Fatalf("the next is %d, want %d", m, want)
		}
		l.Done(uint64(want))
	}
}

// model is lanes as one would describe them.
type model struct {
	all []*modelled // that are held
}

type modelled struct {
	sequence uint64
	value    string
	atWork   bool
	until    time.Time
}

// may are those that may be called.
func (m *model) may(now time.Time) (out []uint64) {
	for _, a := range m.all {
		if !a.atWork && !m.blocked(a) && !a.until.After(now) {
			out = append(out, a.sequence)
		}
	}
	slices.Sort(out)
	return out
}

// blocked reports whether another one of its value goes before a.
func (m *model) blocked(a *modelled) bool {
	return slices.ContainsFunc(m.all, func(b *modelled) bool {
		return b != a && a.value != "" && b.value == a.value && (b.atWork || b.sequence < a.sequence)
	})
}

func (m *model) index(sequence uint64) int {
	return slices.IndexFunc(m.all, func(a *modelled) bool { return a.sequence == sequence })
}

// TestLanesModel does the same with lanes and with the model of them.
func TestLanesModel(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		lanes, m, now := NewLanes[uint64](), &model{}, epoch
		var atWork []uint64
		for step := range 300 {
			now = now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
			switch n := r.IntN(10); {
			case n < 4 && step < 200:
				add(t, r, lanes, m)
			case n < 7 || len(atWork) == 0:
				want := m.may(now)
				if n := lanes.Ready(now); n != len(want) {
					t.Fatalf("seed %d: %d are ready of %v", seed, n, want)
				}
				got, ok := lanes.Next(now)
				if ok != (len(want) > 0) || ok && got != want[0] {
					t.Fatalf("seed %d: the next is %d, %v of %v", seed, got, ok, want)
				}
				if ok {
					m.all[m.index(got)].atWork = true
					atWork = append(atWork, got)
				}
			default:
				i := r.IntN(len(atWork))
				end(r, lanes, m, atWork[i], now)
				atWork = slices.Delete(atWork, i, i+1)
			}
			if lanes.Len() != len(m.all) {
				t.Fatalf("seed %d: %d are held, not %d", seed, lanes.Len(), len(m.all))
			}
			checkWake(t, seed, lanes, m, now)
		}
	}
}

func add(t *testing.T, r *rand.Rand, lanes *Lanes[uint64], m *model) {
	t.Helper()
	sequence, value := uint64(1+r.IntN(200)), fmt.Sprint(r.IntN(5))
	if value == "0" {
		value = ""
	}
	known := m.index(sequence) >= 0
	if lanes.Add(sequence, value, sequence) == known {
		t.Fatalf("%d is new, and was known: %v", sequence, known)
	}
	if !known {
		m.all = append(m.all, &modelled{sequence: sequence, value: value})
	}
}

func end(r *rand.Rand, lanes *Lanes[uint64], m *model, sequence uint64, now time.Time) {
	at := m.index(sequence)
	if r.IntN(3) > 0 {
		lanes.Done(sequence)
		m.all = slices.Delete(m.all, at, at+1)
		return
	}
	until := now.Add(time.Duration(r.IntN(100)-20) * time.Millisecond)
	lanes.Again(sequence, until)
	m.all[at].atWork, m.all[at].until = false, until
}

// checkWake has nothing that waits be forgotten: while none may be called, the
// first of those that wait is known.
func checkWake(t *testing.T, seed uint64, lanes *Lanes[uint64], m *model, now time.Time) {
	t.Helper()
	if len(m.may(now)) > 0 {
		return
	}
	var first time.Time
	for _, a := range m.all {
		if !a.atWork && !m.blocked(a) && (first.IsZero() || a.until.Before(first)) {
			first = a.until
		}
	}
	if got := lanes.Wake(); !got.Equal(first) {
		t.Fatalf("seed %d: it wakes at %v, not %v", seed, got, first)
	}
}

func TestAllAreHeld(t *testing.T) {
	l := NewLanes[uint64]()
	for seq := range uint64(10) {
		l.Add(seq, fmt.Sprint(seq%3), seq)
	}
	l.Next(epoch)
	got := slices.Sorted(l.All())
	if len(got) != 10 || got[9] != 9 {
		t.Errorf("held are %v", got)
	}
	for range l.All() { // may be left early
		break
	}
}
