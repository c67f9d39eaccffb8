package dispatch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// queue is calls that broke off, in the order in which they asked to be called.
type queue struct {
	t     *testing.T
	apart apart
	in    chan func() // how those that are in leave
}

var fragile = names.Function{Namespace: "shop", Name: "fragile"}

func newQueue(t *testing.T) *queue {
	return &queue{t: t, apart: apart{lines: map[names.Function]*line{}}, in: make(chan func(), 100)}
}

// ask has calls ask to be let in, one after the other.
func (q *queue) ask(calls int, alone bool) {
	for range calls {
		go func() {
			leave, err := q.apart.enter(q.t.Context(), fragile, alone)
			if err == nil {
				q.in <- leave
			}
		}()
		synctest.Wait()
	}
}

// have wants so many to be in since it was asked last, and returns how they leave.
func (q *queue) have(want int) (leave []func()) {
	q.t.Helper()
	synctest.Wait()
	for len(q.in) > 0 {
		leave = append(leave, <-q.in)
	}
	if len(leave) != want {
		q.t.Fatalf("%d are in, want %d", len(leave), want)
	}
	return leave
}

// One is called first, and each that goes well makes room for one more.
func TestApartGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.ask(20, false)
		in := q.have(1)
		for _, want := range []int{2, 4, 8} {
			for _, leave := range in {
				leave()
				leave() // the end of a call that has gone well for a while
				synctest.Wait()
			}
			in = q.have(want)
		}
		for _, leave := range in {
			leave()
		}
		q.have(5)
	})
}

// Two are in, and then it is one again, when all that are in have left: because a call
// breaks off, or for one that is to be alone, behind which others wait.
func TestApartIsOneAgain(t *testing.T) {
	for name, then := range map[string]func(q *queue){
		"a call breaks off":  func(q *queue) { q.ask(5, false); q.apart.broke(fragile) },
		"one is to be alone": func(q *queue) { q.ask(1, true); q.ask(2, false) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(t)
				q.ask(3, false)
				q.have(1)[0]()
				in := q.have(2)
				then(q)
				in[0]()
				q.have(0)
				in[1]()
				in = q.have(1)
				in[0]()
				q.have(2)
			})
		})
	}
}

// Those that wait give up when their time is over, the first as well as the others,
// and hold up nobody.
func TestApartGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.ask(1, false)
		in := q.have(1)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 2)
		for range cap(failed) {
			go func() {
				_, err := q.apart.enter(ctx, fragile, false)
				failed <- err
			}()
			synctest.Wait()
		}
		cancel()
		for range cap(failed) {
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		q.ask(1, false)
		in[0]()
		q.have(1)
	})
}
