package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
)

const (
	// grace is the time between SIGTERM and SIGKILL.
	grace = 10 * time.Second
	// drain is how long output is read after the process has ended.
	drain = time.Second
)

// instance is one process and its slots.
type instance struct {
	function *function
	program  *Program
	port     int
	address  string
	files    runFiles
	revoke   func()
	cmd      *exec.Cmd
	output   *output
	exited   chan struct{} // closed when the process has exited
	ended    chan struct{} // closed when the process is gone and its traces are removed

	signals sync.Mutex
	state   *os.ProcessState // set once the process is reaped
	asked   sync.Once

	// Guarded by function.mu.
	free  []*slot
	slots int
	dead  bool
}

// slot is one of the calls that an instance can have at once. It is made once and
// reused, so that a lease allocates nothing.
type slot struct {
	instance *instance
	lease    invoke.Lease
}

// take leases a slot, or returns nil when all are leased.
func (i *instance) take() *slot {
	if last := len(i.free) - 1; last >= 0 {
		s := i.free[last]
		i.free = i.free[:last]
		return s
	}
	if limit := i.program.Concurrency; limit > 0 && i.slots == limit {
		return nil
	}
	i.slots++
	s := &slot{instance: i}
	s.lease = invoke.Lease{Address: i.address, Ended: i.exited, Release: func() { i.function.release(s) }}
	return s
}

func (i *instance) inFlight() int { return i.slots - len(i.free) }

// launch starts a process and waits until it listens. A port that somebody else
// took between choosing it and listening on it is worth one more try.
func (p *Processes) launch(ctx context.Context, f *function, program *Program) (*instance, error) {
	i, err := p.launchOnce(ctx, f, program)
	if err != nil && i != nil && ctx.Err() == nil && !portFree(i.port) {
		i, err = p.launchOnce(ctx, f, program)
	}
	return i, err
}

// launchOnce returns the instance also with an error, when there was a process;
// it has ended then.
func (p *Processes) launchOnce(ctx context.Context, f *function, program *Program) (*instance, error) {
	began := time.Now()
	i, err := p.spawn(f, program)
	if err != nil {
		return nil, &invoke.StartError{Function: f.name, Reason: invoke.Exited, Detail: err.Error()}
	}
	if err := i.awaitReady(ctx, p.config.Start); err != nil {
		i.kill()
		<-i.ended
		return i, err
	}
	p.config.Logger.Info("function started", "function", f.name, "pid", i.pid(), "took", time.Since(began).Round(time.Millisecond))
	return i, nil
}

// spawn starts the process with a port, a token and an output of its own.
func (p *Processes) spawn(f *function, program *Program) (*instance, error) {
	if len(program.Argv) == 0 {
		return nil, errors.New("there is no command to run")
	}
	port, err := p.reservePort()
	if err != nil {
		return nil, err
	}
	token, revoke := p.config.Issue(f.name)
	i := &instance{
		function: f, program: program, revoke: revoke,
		port:    port,
		address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		files:   p.runFiles(f.name, port),
		exited:  make(chan struct{}),
		ended:   make(chan struct{}),
	}
	if err := i.files.writeToken(token); err != nil {
		p.forget(i)
		return nil, err
	}
	if err := i.exec(p); err != nil {
		p.forget(i)
		return nil, err
	}
	p.mu.Lock()
	p.instances[i] = struct{}{}
	p.running.Add(1) // never the first: the start in progress counts
	p.mu.Unlock()
	go i.reap(p)
	return i, nil
}

func (i *instance) exec(p *Processes) error {
	output, err := openOutput(p.logs, i.function.label)
	if err != nil {
		return err
	}
	argv := i.program.Argv
	i.cmd = exec.Command(argv[0], argv[1:]...)
	i.cmd.Dir = i.program.Dir
	i.cmd.Env = p.environment(i)
	i.cmd.Stdout, i.cmd.Stderr = output.stdout, output.stderr
	i.cmd.SysProcAttr = childAttributes()
	err = p.start(i.cmd)
	output.started()
	if err != nil {
		return fmt.Errorf("starting %s in %s: %w", argv[0], i.cmd.Dir, err)
	}
	i.output = output
	if err := i.files.writePID(i.pid()); err != nil {
		p.config.Logger.Warn("process id not stored", "function", i.function.name, "error", err)
	}
	return nil
}

// awaitReady returns when the port accepts a connection. It asks every
// millisecond at first, because a first call waits for exactly this.
func (i *instance) awaitReady(ctx context.Context, limit time.Duration) error {
	began := time.Now()
	for {
		if c, err := net.DialTimeout("tcp", i.address, time.Second); err == nil {
			return c.Close()
		}
		waited := time.Since(began)
		if waited > limit {
			return i.startError(invoke.NeverListened, fmt.Sprintf("nothing listened on $PORT (%d) within %s", i.port, limit))
		}
		pause := time.Millisecond
		if waited > time.Second {
			pause = 20 * time.Millisecond
		}
		select {
		case <-i.ended:
			return i.exitError()
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// reap waits for the process's end and removes its traces.
func (i *instance) reap(p *Processes) {
	defer p.running.Done()
	state, err := i.cmd.Process.Wait()
	if err != nil {
		p.config.Logger.Error("waiting for a process failed", "function", i.function.name, "error", err)
	}
	close(i.exited)
	i.signals.Lock()
	i.state = state
	_ = syscall.Kill(-i.pid(), syscall.SIGKILL) // what the process left in its group
	i.signals.Unlock()
	i.output.finish(drain)
	p.forget(i)
	close(i.ended)
	i.function.ended(i)
}

// forget gives back what an instance held: token, files, port.
func (p *Processes) forget(i *instance) {
	i.revoke()
	if err := i.files.remove(); err != nil {
		p.config.Logger.Warn("run files not removed", "function", i.function.name, "error", err)
	}
	p.mu.Lock()
	delete(p.instances, i)
	delete(p.ports, i.port)
	p.mu.Unlock()
}

// terminate asks the process to end, and makes it end after the grace time. It
// does not wait.
func (i *instance) terminate() {
	i.asked.Do(func() {
		i.signal(syscall.SIGTERM)
		time.AfterFunc(grace, i.kill)
	})
}

func (i *instance) kill() { i.signal(syscall.SIGKILL) }

// signal reaches the whole process group, never after its leader was reaped.
func (i *instance) signal(s syscall.Signal) {
	i.signals.Lock()
	defer i.signals.Unlock()
	if i.state == nil {
		_ = syscall.Kill(-i.pid(), s) // fails only when the group has ended by itself
	}
}

func (i *instance) pid() int { return i.cmd.Process.Pid }

// exit tells how the process ended, for a person; only once it has.
func (i *instance) exit() string {
	i.signals.Lock()
	defer i.signals.Unlock()
	return i.state.String()
}

func (i *instance) exitError() error {
	return i.startError(invoke.Exited, fmt.Sprintf("its process ended before it listened on $PORT (%d): %s", i.port, i.exit()))
}

func (i *instance) startError(reason invoke.StartReason, detail string) error {
	return &invoke.StartError{Function: i.function.name, Reason: reason, Detail: detail, Lines: i.output.tail.last()}
}

func (i *instance) status() Status {
	f := i.function
	f.mu.Lock()
	defer f.mu.Unlock()
	return Status{
		Function: f.name, Revision: i.program.Revision,
		PID: i.pid(), Address: i.address,
		Ready: f.live == i, InFlight: i.inFlight(),
	}
}
