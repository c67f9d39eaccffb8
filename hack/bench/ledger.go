package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// book is what the ledger says of the events of one type. Events have a key and
// a number among those of the key.
type book struct {
	in    io.ReadCloser
	rest  string // of a line that is not whole yet
	marks map[string]*mark
	calls int
	done  int   // events that have ended
	last  int64 // when the last call ended, in nanoseconds since 1970
	wrong int   // calls that began too early, or too late
}

func newBook(in io.ReadCloser) *book { return &book{in: in, marks: map[string]*mark{}} }

// mark is how far the events of a key have come.
type mark struct {
	ended int // events, from 0 on
	begun int // the highest number of which a call began
	open  int // the process with a call under way; 0: none
}

// read reads what was written since.
func (b *book) read() error {
	in := bufio.NewReader(b.in)
	for {
		line, err := in.ReadString('\n')
		b.rest += line
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the ledger: %w", err)
		}
		line, b.rest = b.rest, ""
		if err := b.note(line); err != nil {
			return err
		}
	}
}

// note takes in one line. A call of an event is out of order if an event before it
// of its key has not ended, if a later one has begun, or beside another of its key
// in the same process.
func (b *book) note(line string) error {
	var what, id string
	var pid int
	var at int64
	if _, err := fmt.Sscan(line, &what, &id, &pid, &at); err != nil {
		return fmt.Errorf("the ledger has the line %q: %w", line, err)
	}
	key, number, _ := strings.Cut(id, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("the ledger has an event %q: %w", id, err)
	}
	m := b.marks[key]
	if m == nil {
		m = &mark{}
		b.marks[key] = m
	}
	if what == "begin" {
		b.calls++
		if n > m.ended || n < m.begun || m.open == pid {
			b.wrong++
		}
		m.begun, m.open = max(m.begun, n), pid
		return nil
	}
	m.open, b.last = 0, at
	if n == m.ended {
		m.ended++
		b.done++
	}
	return nil
}

// await waits until so many events have ended in all.
func (b *book) await(ctx context.Context, n int, limit time.Duration) error {
	var failed error
	err := poll(ctx, 20*time.Millisecond, limit, func() bool {
		failed = b.read()
		return failed != nil || b.done >= n
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("waiting for %d events, of which %d have ended: %w", n, b.done, err)
	}
	return nil
}

// ledgerRun is serviceful dev with the ledger.
type ledgerRun struct {
	*dev
	book *book
}

// startLedger starts it with an empty ledger and more flags. The function is at
// zero.
func (w *workshop) startLedger(ctx context.Context, flags ...string) (*ledgerRun, error) {
	file, err := os.Create(w.ledger())
	if err != nil {
		return nil, fmt.Errorf("making the ledger: %w", err)
	}
	d, err := w.start(ctx, "hack/bench/ledger", flags...)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &ledgerRun{dev: d, book: newBook(file)}, nil
}

func (l *ledgerRun) close() {
	l.stop()
	_ = l.book.in.Close() // it was only read
}

// killedUntil kills the function's process every now and then, at most so often,
// until done returns, and returns how often.
func (l *ledgerRun) killedUntil(ctx context.Context, every time.Duration, most int, done func() error) (kills int, err error) {
	killing, stop := context.WithCancel(ctx)
	var killer sync.WaitGroup
	var failed error
	killer.Go(func() {
		for failed == nil && kills < most {
			select {
			case <-killing.Done():
				return
			case <-time.After(every):
			}
			var killed bool
			if killed, failed = l.killNow("bench.ledger"); killed {
				kills++
			}
		}
	})
	err = done()
	stop()
	killer.Wait()
	if err == nil {
		err = failed
	}
	return kills, err
}

// killNow kills the function's process, if there is one now.
func (d *dev) killNow(function string) (killed bool, err error) {
	files, _ := filepath.Glob(filepath.Join(d.data, "run", function, "*.pid")) // the pattern is well-formed
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		pid, err := strconv.Atoi(string(text))
		if err != nil {
			return killed, fmt.Errorf("reading %s: %w", file, err)
		}
		killed = syscall.Kill(pid, syscall.SIGKILL) == nil || killed
	}
	return killed, nil
}
