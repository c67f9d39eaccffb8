package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/time/rate"
)

// pace is how a command goes through many messages.
type pace struct {
	rate float64   // messages a second; 0: as fast as it goes
	out  io.Writer // where it says how far it is
	what string    // such as "replaying"
}

// defaultRate is slow enough for a function that is not used to more.
const defaultRate = 50

var errRate = errors.New("--rate must not be less than 0")

// each calls f for 0 to n-1 until ctx ends or f fails, and says for how many it
// was called and did not fail. f is not interrupted itself: what it does to one
// message, it does to the end.
func (p pace) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) (done int, err error) {
	limit := rate.Inf
	if p.rate > 0 {
		limit = rate.Limit(p.rate)
	}
	limiter := rate.NewLimiter(limit, 1)
	step, end := p.progress(n)
	defer end()
	for ; done < n; done++ {
		if ctx.Err() != nil || limiter.Wait(ctx) != nil {
			return done, nil
		}
		if err := f(context.WithoutCancel(ctx), done); err != nil {
			return done, err
		}
		step()
	}
	return done, nil
}

// progressPause is the time between two lines where there is no terminal.
const progressPause = 5 * time.Second

// progress shows a bar on a terminal, and lines elsewhere.
func (p pace) progress(n int) (step, end func()) {
	if isTerminal(p.out) && n > 0 {
		bar := progressbar.NewOptions(n, progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowCount(), progressbar.OptionSetWidth(40), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true))
		return func() { _ = bar.Add(1) }, func() { _ = bar.Exit(); fmt.Fprintln(p.out) }
	}
	done, last := 0, time.Now()
	return func() {
		if done++; time.Since(last) >= progressPause {
			last = time.Now()
			fmt.Fprintf(p.out, "%s: %d of %d\n", p.what, done, n)
		}
	}, func() {}
}
