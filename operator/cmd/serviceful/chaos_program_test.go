package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/testkit/loopback"
)

// repository is the root of this repository, as seen from this package.
const repository = "../../.."

// chaosProgram is `serviceful dev` as a process that can be killed and started
// again.
type chaosProgram struct {
	binary        string
	args          []string
	data          string
	public        string // address of the public door
	services      string // address of the services door
	client        *http.Client
	kills         atomic.Int32
	functionKills atomic.Int32

	mu      sync.Mutex // guards command and ended, and is held while the program is down
	command *exec.Cmd
	ended   chan struct{} // closed when the command has ended
	broken  atomic.Bool   // it could not be started again
}

func startChaos(t *testing.T, args ...string) *chaosProgram {
	t.Helper()
	p := &chaosProgram{
		binary: filepath.Join(t.TempDir(), "serviceful"), data: t.TempDir(), public: loopback.Address(t), services: loopback.Address(t),
		client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: chaosSenders}},
	}
	build := exec.Command("go", "build", "-o", p.binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	p.args = append([]string{"dev", "--no-watch", "--data", p.data, "--listen", p.public, "--services", p.services}, args...)
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.command != nil {
			p.end(syscall.SIGKILL)
		}
		p.client.CloseIdleConnections()
		if t.Failed() {
			log, _ := os.ReadFile(p.log())
			t.Logf("the program's last words:\n%s", log[max(0, len(log)-8000):])
		}
	})
	return p
}

func (p *chaosProgram) log() string { return filepath.Join(p.data, "test.log") }

// start starts the program and waits until it is ready.
func (p *chaosProgram) start() error {
	log, err := os.OpenFile(p.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command, ended := exec.Command(p.binary, p.args...), make(chan struct{})
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return err
	}
	p.command, p.ended = command, ended
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	deadline := time.After(3 * time.Minute)
	for p.callServices(http.MethodGet, "/readyz", nil) != http.StatusOK {
		select {
		case <-ended:
			return fmt.Errorf("the program ended with %d before it was ready", command.ProcessState.ExitCode())
		case <-deadline:
			return errors.New("the program is not ready")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (p *chaosProgram) end(signal syscall.Signal) {
	_ = p.command.Process.Signal(signal)
	<-p.ended
	p.command = nil
}

// deadline returns what reports that a phase which begins now is to end without
// success: its time is over, or the program does not run any more.
func (p *chaosProgram) deadline() (over func() bool) {
	end := time.Now().Add(chaosDeadline)
	return func() bool { return p.broken.Load() || time.Now().After(end) }
}

// stop stops the program cleanly.
func (p *chaosProgram) stop(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	command := p.command
	p.end(syscall.SIGTERM)
	if code := command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the program ended with %d, want 0", code)
	}
}

// killAtRandom kills functions, every now and then the program, until the
// returned function is called, which ends the test if the program did not come
// back. Otherwise it is running then.
func (p *chaosProgram) killAtRandom(t *testing.T) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		nextProgram := time.Now().Add(500 * time.Millisecond)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Duration(100+rand.IntN(300)) * time.Millisecond):
			}
			if time.Now().Before(nextProgram) {
				p.killFunction()
				continue
			}
			p.mu.Lock()
			p.end(syscall.SIGKILL)
			p.kills.Add(1)
			err := p.start()
			p.mu.Unlock()
			if err != nil {
				p.broken.Store(true)
				t.Errorf("after kill %d: %v", p.kills.Load(), err)
				return
			}
			nextProgram = time.Now().Add(time.Duration(1000+rand.IntN(4000)) * time.Millisecond)
		}
	})
	return func() {
		close(done)
		if wg.Wait(); p.broken.Load() {
			t.FailNow()
		}
	}
}

// killFunction kills the process of one function that runs.
func (p *chaosProgram) killFunction() {
	files, _ := filepath.Glob(filepath.Join(p.data, "run", "*", "*.pid"))
	if len(files) == 0 {
		return
	}
	text, err := os.ReadFile(files[rand.IntN(len(files))])
	if err != nil {
		return // it ended in between
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 && syscall.Kill(pid, syscall.SIGKILL) == nil {
		p.functionKills.Add(1)
	}
}

// call makes a request to the public door and returns the status; 0 where there
// was no whole answer. A 2xx answer is read into result.
func (p *chaosProgram) call(method, path, body string, result any) int {
	return p.request(method, "http://"+p.public+path, "", body, result)
}

func (p *chaosProgram) callWithKey(method, path, key string, result any) int {
	return p.request(method, "http://"+p.public+path, key, "", result)
}

func (p *chaosProgram) callServices(method, path string, result any) int {
	return p.request(method, "http://"+p.services+path, "", "", result)
}

func (p *chaosProgram) request(method, url, key, body string, result any) int {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0
	}
	if result != nil && resp.StatusCode < 300 && json.NewDecoder(bytes.NewReader(answer)).Decode(result) != nil {
		return 0
	}
	return resp.StatusCode
}
