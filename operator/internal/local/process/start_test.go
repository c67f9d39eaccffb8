package process

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
)

func TestStartFails(t *testing.T) {
	missing := program("serve")
	missing.Argv = []string{"no-such-program"}
	empty := program("serve")
	empty.Argv = nil
	folder := program("serve")
	folder.Dir = "/no/such/folder"
	var lastLines []string
	for n := 11; n <= 30; n++ {
		lastLines = append(lastLines, "line "+strconv.Itoa(n))
	}
	tests := map[string]struct {
		program Program
		reason  invoke.StartReason
		detail  string
		lines   []string
	}{
		"exits":         {program("exit"), invoke.Exited, "exit status 3", lastLines},
		"never listens": {program("deaf"), invoke.NeverListened, "within 300ms", nil},
		"not found":     {missing, invoke.Exited, "no-such-program", nil},
		"no command":    {empty, invoke.Exited, "no command", nil},
		"no folder":     {folder, invoke.Exited, "/no/such/folder", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			start := 20 * time.Second
			if test.reason == invoke.NeverListened {
				start = 300 * time.Millisecond
			}
			w := newWorldIn(t, t.TempDir(), start)
			w.Set(offers, test.program)
			_, err := w.Acquire(t.Context(), offers)
			var failed *invoke.StartError
			if !errors.As(err, &failed) {
				t.Fatalf("Acquire: %v", err)
			}
			if failed.Reason != test.reason || failed.Function != offers || !strings.Contains(failed.Detail, test.detail) {
				t.Errorf("got %s for %s: %s", failed.Reason, failed.Function, failed.Detail)
			}
			if !slices.Equal(failed.Lines, test.lines) {
				t.Errorf("last lines %q", failed.Lines)
			}
			if len(w.Running()) > 0 || len(w.tokens()) > 0 || len(w.runFilesLeft(t)) > 0 {
				t.Errorf("left over: %v %v %v", w.Running(), w.tokens(), w.runFilesLeft(t))
			}
		})
	}
}

func TestFailedStartIsSharedAndPaused(t *testing.T) {
	w := newWorld(t)
	w.Set(offers, program("exit"))
	f := w.function(offers)
	f.mu.Lock() // all queue up before the start can end
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			if _, err := w.Acquire(t.Context(), offers); startReason(err) != invoke.Exited {
				t.Errorf("Acquire: %v", err)
			}
		})
	}
	f.mu.Unlock()
	calls.Wait()
	f.mu.Lock()
	f.resume = time.Now().Add(time.Hour)
	f.mu.Unlock()
	issued := w.issued.Load()
	for range 1000 {
		if _, err := w.Acquire(t.Context(), offers); startReason(err) != invoke.Exited {
			t.Fatalf("Acquire: %v", err)
		}
	}
	if w.issued.Load() != issued {
		t.Errorf("%d processes were started during the pause", w.issued.Load()-issued)
	}
	w.Set(offers, program("serve")) // a new program is tried at once
	w.acquire(t, offers).Release()
}

func TestPauseDoublesAndIsReset(t *testing.T) {
	w := newWorld(t)
	f := w.function(offers)
	var pauses []time.Duration
	for range 8 {
		f.mu.Lock()
		f.program = &Program{}
		f.startFailed(errors.New("exited"))
		pauses = append(pauses, f.pause)
		f.mu.Unlock()
	}
	ms := time.Millisecond
	want := []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
}

func TestRetryAfterAFailedStart(t *testing.T) {
	w := newWorld(t)
	p := program("deafOnce")
	p.Env = append(p.Env, "MARK="+filepath.Join(t.TempDir(), "mark"))
	w.Set(offers, p)
	if _, err := w.Acquire(t.Context(), offers); startReason(err) != invoke.Exited {
		t.Fatalf("Acquire: %v", err)
	}
	eventually(t, "the next start succeeds", func() bool {
		lease, err := w.Acquire(t.Context(), offers)
		if err == nil {
			lease.Release()
		}
		return err == nil
	})
	f := w.function(offers)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pause != 0 {
		t.Errorf("the pause is %s after a good start", f.pause)
	}
}

func TestPorts(t *testing.T) {
	w := newWorld(t)
	seen := map[int]bool{}
	for range 200 {
		port, err := w.reservePort()
		if err != nil {
			t.Fatal(err)
		}
		if port < lowestPort || port > highestPort || seen[port] {
			t.Fatalf("port %d", port)
		}
		seen[port] = true
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if portFree(l.Addr().(*net.TCPAddr).Port) {
		t.Error("a port that is listened on counts as free")
	}
}

// A program that finds its port taken is started once more, on another.
func TestPortTakenInBetween(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	mark := filepath.Join(t.TempDir(), "mark")
	p.Argv = []string{"sh", "-c", `until [ -e "$0" ]; do sleep 0.01; done; exec "$1"`, mark, p.Argv[0]}
	w.Set(offers, p)
	granted := make(chan invoke.Lease)
	go func() {
		lease, err := w.Acquire(t.Context(), offers)
		if err != nil {
			t.Error(err)
		}
		granted <- lease
	}()
	eventually(t, "the first start is under way", func() bool { return len(w.Running()) == 1 })
	first := w.Running()[0].Address
	occupy(t, first)
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lease := <-granted
	defer lease.Release()
	if lease.Address == first || w.issued.Load() != 2 {
		t.Errorf("listens on %s after %d starts, first was %s", lease.Address, w.issued.Load(), first)
	}
}

// occupy takes address without listening on it, so that connecting to it is refused.
func occupy(t *testing.T, address string) {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	syscall.CloseOnExec(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
}
