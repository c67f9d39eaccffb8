package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds every wait for something that should come at once.
const patience = 30 * time.Second

// readyWithin bounds the start of a system of any size: ten thousand triggers take
// their time to be laid out.
const readyWithin = 5 * time.Minute

// workshop is where the benchmarks build and keep their data.
type workshop struct {
	dir    string
	binary string // serviceful, once it is built
	data   string // folder of the benchmark that runs
	client *http.Client
}

func newWorkshop(parent, binary string) (*workshop, error) {
	dir, err := os.MkdirTemp(parent, "serviceful-bench-")
	if err != nil {
		return nil, fmt.Errorf("making a data folder: %w", err)
	}
	return &workshop{dir: dir, binary: binary, client: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}}, nil
}

// ledger is the file that the function of that name writes.
func (w *workshop) ledger() string { return filepath.Join(w.dir, "ledger") }

func (w *workshop) clear() error { return os.RemoveAll(w.dir) }

// build makes the command, unless it is there.
func (w *workshop) build(ctx context.Context) error {
	if w.binary != "" {
		return nil
	}
	binary := filepath.Join(w.dir, "serviceful")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "./operator/cmd/serviceful").CombinedOutput(); err != nil {
		return fmt.Errorf("building serviceful: %w\n%s", err, out)
	}
	w.binary = binary
	return nil
}

// dev is a running `serviceful dev`.
type dev struct {
	gateway, services string // base URLs
	data              string
	took              time.Duration // from its start until it was ready
	pid               int
	output            *bytes.Buffer // what it wrote; to be read once it has ended
	stop              func()        // ends it and its functions
}

// start runs `serviceful dev` on a folder of functions until stop, with the
// benchmark's data and more flags, and returns when it is ready.
func (w *workshop) start(ctx context.Context, functions string, flags ...string) (*dev, error) {
	if err := w.build(ctx); err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	d := &dev{gateway: "http://" + ports[0], services: "http://" + ports[1], data: w.data, output: new(bytes.Buffer)}
	running, cancel := context.WithCancelCause(ctx)
	args := []string{"dev", "-f", functions, "--listen", ports[0], "--services", ports[1], "--data", d.data}
	cmd := exec.CommandContext(running, w.binary, append(args, flags...)...)
	cmd.Env = append(os.Environ(), "LEDGER="+w.ledger()) // for a function that asks for it
	cmd.Stdout, cmd.Stderr = d.output, d.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is passed on, once
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience // then SIGKILL; its functions die with it
	began := time.Now()
	if err := cmd.Start(); err != nil {
		cancel(err)
		return nil, fmt.Errorf("starting serviceful dev: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		cancel(errors.Join(errors.New("it ended"), cmd.Wait()))
		close(ended)
	}()
	d.pid = cmd.Process.Pid
	d.stop = func() {
		cancel(nil)
		<-ended
	}
	err = poll(running, 5*time.Millisecond, readyWithin, func() bool { return get(running, w.client, d.services+"/readyz") == nil })
	d.took = time.Since(began)
	if err != nil {
		d.stop()
		return nil, fmt.Errorf("waiting for serviceful dev to be ready: %w\n%s", err, d.output)
	}
	return d, nil
}

// instance is the process of a function.
type instance struct {
	pid     int
	pidFile string
	url     string // base
	token   string // by which the services door knows it
}

// instance waits until the function's process answers, and describes it by its
// run files, <data>/run/<namespace>.<name>/<port>.{pid,token}.
func (d *dev) instance(ctx context.Context, client *http.Client, function string) (instance, error) {
	var found instance
	err := poll(ctx, 5*time.Millisecond, patience, func() bool {
		files, _ := filepath.Glob(filepath.Join(d.data, "run", function, "*.pid")) // the pattern is well-formed
		if len(files) != 1 {
			return false
		}
		base := strings.TrimSuffix(files[0], ".pid")
		text, unread := os.ReadFile(files[0])
		token, unreadToken := os.ReadFile(base + ".token")
		pid, unknown := strconv.Atoi(string(text))
		found = instance{pid: pid, pidFile: files[0], url: "http://" + net.JoinHostPort("127.0.0.1", filepath.Base(base)), token: string(token)}
		return errors.Join(unread, unreadToken, unknown) == nil && get(ctx, client, found.url+"/sync") == nil
	})
	if err != nil {
		return instance{}, fmt.Errorf("waiting for the process of %s: %w", function, err)
	}
	return found, nil
}

// kill ends the process and waits until serviceful dev has noticed.
func (i instance) kill(ctx context.Context) error {
	if err := syscall.Kill(i.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing the function: %w", err)
	}
	return poll(ctx, time.Millisecond, patience, func() bool {
		_, err := os.Stat(i.pidFile)
		return os.IsNotExist(err)
	})
}

// freePorts are n addresses that nobody listens on.
func freePorts(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer l.Close()
		all = append(all, l.Addr().String())
	}
	return all, nil
}

var errTooLate = errors.New("it did not come in time")

// poll tries until it succeeds, ctx is done, or the limit has passed.
func poll(ctx context.Context, every, limit time.Duration, try func() bool) error {
	for deadline := time.Now().Add(limit); !try(); {
		if time.Now().After(deadline) {
			return errTooLate
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(every):
		}
	}
	return nil
}
