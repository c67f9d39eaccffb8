// Package process runs functions as child processes on a laptop: a process
// starts on the first call, serves up to its concurrency of calls at once, and
// stops when no call has used it for its idle time, as a pod would.
//
// It owns the children, their ports, their run files and their output. It never
// builds a program, never reads a manifest and never calls a function. It may
// import names and invoke.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// ErrStopped is returned by Acquire once Stop has been called.
var ErrStopped = errors.New("functions are stopped")

// DefaultStart is how long a start may take unless Config.Start says otherwise,
// as on a cluster.
const DefaultStart = invoke.StartLimit

// Config is what all functions have in common. Dir, ServicesURL and Issue are
// required.
type Config struct {
	// Dir is the data folder. Run files live in <Dir>/run/<namespace>.<name>/.
	// The caller makes sure that no other program uses the folder: New ends what
	// it finds there.
	Dir string
	// ServicesURL is the base of the services door, without a trailing slash.
	ServicesURL string
	// Output gets every line that functions write, in one Write each; nil
	// discards them. A Write that blocks holds the functions up.
	Output io.Writer
	// Color puts each function's name in a colour of its own.
	Color bool
	// Start is how long a process may take until it listens; 0 means DefaultStart.
	Start time.Duration
	// Issue makes the token by which the services door knows one process of the
	// function; revoke is called once that process has ended.
	Issue func(names.Function) (token string, revoke func())
	// Logger gets starts, stops and deaths; nil discards them.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Dir == "":
		return errors.New("process: Dir is empty")
	case c.ServicesURL == "":
		return errors.New("process: ServicesURL is empty")
	case c.Issue == nil:
		return errors.New("process: Issue is nil")
	}
	c.Start = cmp.Or(c.Start, DefaultStart)
	if c.Output == nil {
		c.Output = io.Discard
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Processes holds every function of the laptop and the processes that run now.
// Its methods may be called at once from any number of goroutines.
type Processes struct {
	config  Config
	runDir  string
	environ []string
	logs    *sink
	forks   chan func()

	// functions is replaced, never changed, so Acquire reads it without a lock;
	// a new function costs a copy of the map.
	functions atomic.Pointer[map[names.Function]*function]

	mu        sync.Mutex // taken after a function's own mutex, never before it
	ports     map[int]bool
	instances map[*instance]struct{}
	stopped   bool
	running   sync.WaitGroup // starts and instances; added to under mu while not stopped
}

// New makes the run folder and ends what a killed earlier run left behind there.
func New(config Config) (*Processes, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolving the data folder: %w", err)
	}
	p := &Processes{
		config:    config,
		runDir:    filepath.Join(dir, "run"),
		environ:   inherited(os.Environ()),
		logs:      &sink{out: config.Output, color: config.Color},
		forks:     make(chan func()),
		ports:     map[int]bool{},
		instances: map[*instance]struct{}{},
	}
	p.functions.Store(&map[names.Function]*function{})
	if err := p.clearLeftovers(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.runDir, 0o700); err != nil {
		return nil, fmt.Errorf("making the run folder: %w", err)
	}
	go p.fork()
	return p, nil
}

// Set adds fn, or gives it another program: new calls go to the new program at
// once, and the old one's process ends when its leases are released. Setting the
// program that fn has already changes nothing. Program's slices must not be
// changed afterwards.
func (p *Processes) Set(fn names.Function, program Program) {
	p.function(fn).set(program)
}

// Fail makes Acquire answer err for a function that has no program, because its
// build failed. A function that has a program keeps it.
func (p *Processes) Fail(fn names.Function, err *invoke.StartError) {
	p.function(fn).fail(err)
}

// Remove makes fn unknown. Its process ends when its leases are released.
func (p *Processes) Remove(fn names.Function) {
	if f := (*p.functions.Load())[fn]; f != nil {
		f.clear(unknown(fn))
	}
}

// Acquire leases one call to a ready process of fn. It starts the process if
// there is none, and waits, first come first served, while the process starts or
// has its concurrency of calls. It returns an *invoke.StartError when there is
// no process to be had, ErrStopped, or ctx's error.
func (p *Processes) Acquire(ctx context.Context, fn names.Function) (invoke.Lease, error) {
	return p.acquire(ctx, fn, first)
}

func (p *Processes) acquire(ctx context.Context, fn names.Function, t turn) (invoke.Lease, error) {
	f := (*p.functions.Load())[fn]
	if f == nil {
		return invoke.Lease{}, unknown(fn)
	}
	return f.acquire(ctx, t)
}

// Background is Processes for calls whose answer nobody waits for: a backlog of
// them must not hold up those that somebody does.
type Background struct{ *Processes }

// Acquire is Processes.Acquire, behind all calls that came there: but after a few
// of those in a row, one that waits here gets its turn.
func (b Background) Acquire(ctx context.Context, fn names.Function) (invoke.Lease, error) {
	return b.acquire(ctx, fn, later)
}

// Stop refuses further calls and ends every process: SIGTERM, then SIGKILL when
// ctx is done, or after 10 seconds. It returns when no process is left. Leases
// still held see their connections break.
func (p *Processes) Stop(ctx context.Context) {
	p.mu.Lock()
	first := !p.stopped
	p.stopped = true
	p.mu.Unlock()
	for _, f := range *p.functions.Load() {
		f.clear(ErrStopped)
	}
	for _, i := range p.snapshot() {
		i.terminate()
	}

	ended := make(chan struct{})
	go func() {
		p.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		for _, i := range p.snapshot() {
			i.kill()
		}
		<-ended
	}
	if !first {
		return
	}
	close(p.forks)
	if err := os.RemoveAll(p.runDir); err != nil {
		p.config.Logger.Warn("run folder not removed", "error", err)
	}
}

// Status describes one process.
type Status struct {
	Function names.Function
	Revision string
	PID      int
	Address  string // "127.0.0.1:<port>"
	Ready    bool   // new calls go to it; otherwise it is starting or ending
	InFlight int    // leases held
}

// Running lists the processes that exist now, by function, then PID.
func (p *Processes) Running() []Status {
	var all []Status
	for _, i := range p.snapshot() {
		all = append(all, i.status())
	}
	slices.SortFunc(all, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Function.String(), b.Function.String()), cmp.Compare(a.PID, b.PID))
	})
	return all
}

// function finds fn, or adds it without a program.
func (p *Processes) function(fn names.Function) *function {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.functions.Load()
	if f := old[fn]; f != nil {
		return f
	}
	f := &function{world: p, name: fn, label: p.logs.label(fn.Name), refusal: unknown(fn)}
	f.timer = time.AfterFunc(time.Hour, f.tick)
	f.timer.Stop()
	next := maps.Clone(old)
	next[fn] = f
	p.functions.Store(&next)
	return f
}

// enter counts a start that Stop must wait for; it is refused once stopped.
func (p *Processes) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	p.running.Add(1)
	return true
}

func (p *Processes) snapshot() []*instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Keys(p.instances))
}

func unknown(fn names.Function) *invoke.StartError {
	return &invoke.StartError{Function: fn, Reason: invoke.Unknown, Detail: "there is no function of that name"}
}
