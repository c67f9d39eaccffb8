package dispatch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// queue is calls that broke off, in the order in which they asked to be called.
type queue struct {
	t     *testing.T
	apart apart
	in    chan *watch
}

var fragile = names.Function{Namespace: "shop", Name: "fragile"}

func newQueue(t *testing.T) *queue {
	return &queue{t: t, apart: apart{lines: map[names.Function]*line{}}, in: make(chan *watch, 100)}
}

// ask has calls ask to be let in, one after the other.
func (q *queue) ask(calls int, alone bool) {
	for range calls {
		go func() {
			w, err := q.apart.enter(q.t.Context(), fragile, time.Second, alone, true)
			if err == nil {
				q.in <- w
			}
		}()
		synctest.Wait()
	}
}

// have wants so many to be in since it was asked last.
func (q *queue) have(want int) (in []*watch) {
	q.t.Helper()
	synctest.Wait()
	for len(q.in) > 0 {
		in = append(in, <-q.in)
	}
	if len(in) != want {
		q.t.Fatalf("%d are in, want %d", len(in), want)
	}
	return in
}

// One is called first, and each that goes well makes room for one more.
func TestApartGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.ask(20, false)
		in := q.have(1)
		for _, want := range []int{2, 4, 8} {
			for _, w := range in {
				w.leave(true)
				w.leave(true) // the end of a call that has gone well for a while
				synctest.Wait()
			}
			in = q.have(want)
		}
		for _, w := range in {
			w.leave(true)
		}
		q.have(5)
	})
}

// Two are in, and then it is one again, when all that are in have left: because a call
// breaks off, or for one that is to be alone, behind which others wait.
func TestApartIsOneAgain(t *testing.T) {
	for name, then := range map[string]func(q *queue){
		"a call breaks off":  func(q *queue) { q.ask(5, false); q.apart.broke(fragile, nil, true, 0) },
		"one is to be alone": func(q *queue) { q.ask(1, true); q.ask(2, false) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(t)
				q.ask(3, false)
				q.have(1)[0].leave(true)
				in := q.have(2)
				then(q)
				in[0].leave(true)
				q.have(0)
				in[1].leave(true)
				in = q.have(1)
				in[0].leave(true)
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
				_, err := q.apart.enter(ctx, fragile, time.Second, false, true)
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
		in[0].leave(true)
		q.have(1)
	})
}

// One that may not wait is let in where there is room and nobody waits.
func TestApartDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		first, err := q.apart.enter(t.Context(), fragile, time.Second, true, false)
		if err != nil {
			t.Fatal(err)
		}
		taken := func() {
			t.Helper()
			if _, err := q.apart.enter(t.Context(), fragile, time.Second, false, false); !errors.Is(err, errTaken) {
				t.Errorf("%v", err)
			}
		}
		taken()
		q.ask(3, true)
		taken()
		first.leave(true)
		q.have(1)
		taken()
	})
}

// A call that breaks off is excused while a watched one may be at fault: it is
// watched still, or has just broken off too.
func TestExcused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		broke := func(w *watch, excused bool) {
			t.Helper()
			if got := q.apart.broke(fragile, w, true, maxExcuses-1); got != excused {
				t.Errorf("excused: %v, want %v", got, excused)
			}
		}
		broke(nil, false)
		broke(nil, false)
		q.ask(1, false)
		w := q.have(1)[0]
		broke(nil, true)
		if q.apart.broke(fragile, nil, false, 0) || q.apart.broke(fragile, nil, true, maxExcuses) {
			t.Error("excused though the instance lives, or once too often")
		}
		broke(w, false)
		w.leave(false)
		broke(nil, true)
		broke(w, true) // it is not watched any more
		time.Sleep(2 * blameFor)
		broke(nil, false)
		q.ask(1, true)
		q.have(1)[0].leave(true)
		broke(nil, false)
	})
}

// A watch lasts from when there is an instance until the call has gone well for longer
// than the one that broke off, or has ended. What was not called makes no room.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(t)
		q.ask(5, false)
		first := q.have(1)[0]
		ready, ended := make(chan struct{}), make(chan struct{})
		go first.last(ready, ended)
		time.Sleep(time.Hour)
		q.have(0)
		close(ready)
		time.Sleep(2*time.Second - 1)
		q.have(0)
		time.Sleep(time.Nanosecond)
		in := q.have(2)
		in[0].leave(false)
		q.have(1)
		ended = make(chan struct{})
		go in[1].last(nil, ended)
		close(ended)
		synctest.Wait()
		q.have(0)
		in[1].leave(true)
		q.have(1)
	})
}
