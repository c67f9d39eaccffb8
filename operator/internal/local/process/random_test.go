package process

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// Whatever happens to functions meanwhile, every call gets an answer, and at the
// end no process, token, port or file is left.
func TestRandomInterleavings(t *testing.T) {
	w := newWorld(t)
	fns := []names.Function{offers, {Namespace: "coop", Name: "membership"}, {Namespace: "coop", Name: "mail"}}
	set := func(n int) {
		p := program([]string{"serve", "serve", "serve", "exit"}[rand.IntN(4)])
		p.Concurrency = rand.IntN(4)
		p.Min = rand.IntN(2)
		p.Idle = time.Duration(1+rand.IntN(50)) * time.Millisecond
		p.Revision = strconv.Itoa(n)
		w.Set(fns[rand.IntN(len(fns))], p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var actors sync.WaitGroup
	var served atomic.Int64
	for n := range 12 {
		actors.Go(func() {
			for ctx.Err() == nil {
				call(t, w, fns[rand.IntN(len(fns))], &served)
				if n%3 == 0 {
					time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond) // lets functions become idle
				}
			}
		})
	}
	actors.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			set(n)
			time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		}
	})
	actors.Go(func() {
		for ctx.Err() == nil {
			if running := w.Running(); len(running) > 0 {
				_ = syscall.Kill(running[rand.IntN(len(running))].PID, syscall.SIGKILL)
			}
			if rand.IntN(10) == 0 {
				w.Remove(fns[rand.IntN(len(fns))])
			}
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		}
	})
	<-ctx.Done()
	if rand.IntN(2) == 0 {
		w.stop(t.Context()) // while calls are still made
	}
	actors.Wait()
	w.stop(t.Context())

	if served.Load() == 0 {
		t.Error("no function was ever reached")
	}
	if left := w.Running(); len(left) > 0 {
		t.Errorf("processes left: %+v", left)
	}
	if left := w.tokens(); len(left) > 0 {
		t.Errorf("tokens left: %v", left)
	}
	if left := w.runFilesLeft(t); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ports) > 0 {
		t.Errorf("ports left: %v", w.ports)
	}
}

// call makes one call, at times with little patience, and checks its answer.
func call(t *testing.T, w *world, fn names.Function, served *atomic.Int64) {
	patience := 20 * time.Second
	impatient := rand.IntN(5) == 0
	if impatient {
		patience = time.Duration(rand.IntN(20)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	acquire := w.Acquire
	if rand.IntN(2) == 0 {
		acquire = Background{w.Processes}.Acquire
	}
	lease, err := acquire(ctx, fn)
	switch {
	case err == nil:
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+lease.Address+"/env/K_SERVICE", nil)
		if err != nil {
			t.Error(err)
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			served.Add(1)
		}
		lease.Release()
	case startReason(err) != "", errors.Is(err, ErrStopped):
	case impatient && errors.Is(err, context.DeadlineExceeded):
	default:
		t.Errorf("Acquire: %v", err)
	}
}
