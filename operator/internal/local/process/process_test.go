package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// The test binary is also the function that the tests run: FUNCTION says how it
// behaves.
func TestMain(m *testing.M) {
	if behave, ok := behaviours[os.Getenv("FUNCTION")]; ok {
		behave()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var behaviours = map[string]func(){
	"serve": serve,
	"exit": func() {
		for n := 1; n <= 30; n++ {
			fmt.Println("line", n)
		}
		os.Exit(3)
	},
	"deaf": func() { select {} },
	"deafOnce": func() { // never ready on the first start, ready on the second
		if err := os.Mkdir(os.Getenv("MARK"), 0o700); err == nil {
			os.Exit(4)
		}
		serve()
	},
	"talk": func() {
		for n := range 200 {
			fmt.Fprintf(os.Stdout, "out %d %s\n", n, strings.Repeat("o", 300))
			fmt.Fprintf(os.Stderr, "err %d %s\r\n", n, strings.Repeat("e", 300))
		}
		fmt.Println(strings.Repeat("x", 3*longestLine))
		fmt.Print("no newline")
		os.Exit(1)
	},
}

// serve answers: /env the value of a variable, /file the content of the file it
// names, /hang when the request is cancelled, /die never.
func serve() {
	mux := http.NewServeMux()
	mux.HandleFunc("/env/{name}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, os.Getenv(r.PathValue("name")))
	})
	mux.HandleFunc("/file/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, os.Getenv(r.PathValue("name")))
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = http.Serve(l, mux)
}

var offers = names.Function{Namespace: "coop", Name: "offers"}

// program is this test binary behaving as told, with an idle time that does not
// pass by itself.
func program(behaviour string) Program {
	return Program{
		Argv: []string{os.Args[0]},
		Dir:  filepath.Dir(os.Args[0]),
		Env:  []string{"FUNCTION=" + behaviour, "GREETING=hello"},
		Idle: time.Hour,
	}
}

// world is Processes together with what it was told and gave out.
type world struct {
	*Processes
	output bytes.Buffer // written under the sink's lock; read after Stop
	issued atomic.Int64
	valid  sync.Map // tokens not yet revoked
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldIn(t, t.TempDir(), 20*time.Second)
}

func newWorldIn(t testing.TB, dir string, start time.Duration) *world {
	t.Helper()
	w := &world{}
	p, err := New(Config{
		Dir: dir, ServicesURL: "http://127.0.0.1:1", Output: &w.output, Start: start,
		Issue: func(fn names.Function) (string, func()) {
			token := fmt.Sprintf("token-%s-%d", fn.Name, w.issued.Add(1))
			w.valid.Store(token, true)
			return token, func() { w.valid.Delete(token) }
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Processes = p
	t.Cleanup(func() { w.stop(context.WithoutCancel(t.Context())) })
	return w
}

func (w *world) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	w.Stop(ctx)
}

func (w *world) tokens() (all []string) {
	w.valid.Range(func(token, _ any) bool {
		all = append(all, token.(string))
		return true
	})
	return all
}

// runFilesLeft lists the files below the run folder.
func (w *world) runFilesLeft(t *testing.T) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(w.runDir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func (w *world) acquire(t testing.TB, fn names.Function) invoke.Lease {
	t.Helper()
	lease, err := w.Acquire(t.Context(), fn)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func get(t *testing.T, lease invoke.Lease, path string) string {
	t.Helper()
	response, err := http.Get("http://" + lease.Address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// eventually waits until done answers true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 2 min: %s", what)
		}
	}
}

func exists(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func (w *world) waiting(fn names.Function) int {
	f := w.function(fn)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting()
}

func TestConfig(t *testing.T) {
	issue := func(names.Function) (string, func()) { return "", func() {} }
	tests := map[string]struct {
		config Config
		want   string
	}{
		"no folder":   {Config{ServicesURL: "http://x", Issue: issue}, "Dir"},
		"no services": {Config{Dir: "x", Issue: issue}, "ServicesURL"},
		"no issuer":   {Config{Dir: "x", ServicesURL: "http://x"}, "Issue"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: %v, want an error about %s", err, test.want)
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SERVICEFUL_SECRET", "of the parent")
	t.Setenv("K_SOMETHING", "of the parent")
	t.Setenv("ORDINARY", "of the parent")
	w := newWorld(t)
	p := program("serve")
	p.Revision = "offers-abc"
	w.Set(offers, p)
	lease := w.acquire(t, offers)
	defer lease.Release()
	_, port, _ := net.SplitHostPort(lease.Address)
	for name, want := range map[string]string{
		"PORT":              port,
		"K_SERVICE":         "offers",
		"K_REVISION":        "offers-abc",
		"K_SINK":            "http://127.0.0.1:1/v1/events",
		"SERVICEFUL_URL":    "http://127.0.0.1:1",
		"GREETING":          "hello",
		"ORDINARY":          "of the parent",
		"PWD":               filepath.Dir(os.Args[0]),
		"SERVICEFUL_SECRET": "",
		"K_SOMETHING":       "",
	} {
		if got := get(t, lease, "/env/"+name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestTokenLivesAsLongAsTheProcess(t *testing.T) {
	w := newWorld(t)
	w.Set(offers, program("serve"))
	if left := w.runFilesLeft(t); len(left) > 0 {
		t.Fatalf("run files before the first call: %v", left)
	}
	lease := w.acquire(t, offers)
	defer lease.Release()
	path := get(t, lease, "/env/SERVICEFUL_TOKEN_FILE")
	if got := get(t, lease, "/file/SERVICEFUL_TOKEN_FILE"); !slices.Equal(w.tokens(), []string{got}) {
		t.Errorf("the token file holds %q, valid are %v", got, w.tokens())
	}
	for file, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, w.runDir: 0o700} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", file, info.Mode().Perm(), want)
		}
	}
	if want := filepath.Join(w.runDir, "coop.offers"); filepath.Dir(path) != want {
		t.Errorf("the token file is in %s, want %s", filepath.Dir(path), want)
	}
	w.stop(t.Context())
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the token file is still there: %v", err)
	}
	if left := w.tokens(); len(left) > 0 {
		t.Errorf("tokens not revoked: %v", left)
	}
}

func TestStopLeavesNoProcess(t *testing.T) {
	w := newWorld(t)
	w.Set(offers, program("serve"))
	lease := w.acquire(t, offers) // still held when everything stops
	pid := w.Running()[0].PID
	starting := names.Function{Namespace: "coop", Name: "starting"}
	w.Set(starting, program("deaf"))
	refused := make(chan error, 1)
	go func() {
		_, err := w.Acquire(t.Context(), starting)
		refused <- err
	}()
	eventually(t, "both run", func() bool { return len(w.Running()) == 2 })

	w.stop(t.Context())
	if err := <-refused; !errors.Is(err, ErrStopped) {
		t.Errorf("a waiting call got %v", err)
	}
	if exists(pid) || len(w.Running()) > 0 {
		t.Errorf("processes are left: %v", w.Running())
	}
	lease.Release()
	w.Set(offers, program("serve"))
	if _, err := w.Acquire(t.Context(), offers); !errors.Is(err, ErrStopped) {
		t.Errorf("Acquire after Stop: %v", err)
	}
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	p.Argv = []string{"sh", "-c", `trap "" TERM; "$0"; sleep 1000`, os.Args[0]}
	w.Set(offers, p)
	w.acquire(t, offers)
	pid := w.Running()[0].PID
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.Stop(ctx)
	if exists(pid) {
		t.Error("the process ignored SIGTERM and lives")
	}
}
