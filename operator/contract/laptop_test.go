package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestLaptop tests every clause on `serviceful dev`.
func TestLaptop(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	d := newDirector(t, "127.0.0.1")
	run(t, newLaptop(t, d), d)
}

// laptop is a `serviceful dev` of its own.
type laptop struct {
	dir      string // of everything: functions, data, output
	program  string
	stub     string
	director *director

	mu       sync.Mutex // of what follows
	process  *exec.Cmd
	url      string // of the public door
	services string
	applied  int
}

var _ target = (*laptop)(nil)

func newLaptop(t *testing.T, d *director) *laptop {
	t.Helper()
	stub, err := filepath.Abs("stub/main.py")
	if err != nil {
		t.Fatal(err)
	}
	l := &laptop{dir: t.TempDir(), stub: stub, director: d, url: "127.0.0.1:0", services: "127.0.0.1:0"}
	l.program = buildCommand(t)
	l.write(t, "applied", "")
	l.start(t)
	t.Cleanup(func() {
		_ = l.process.Process.Signal(syscall.SIGTERM)
		if err := l.process.Wait(); err != nil {
			t.Errorf("it did not end well: %v", err)
		}
		if t.Failed() {
			out, _ := os.ReadFile(l.output())
			t.Logf("serviceful dev wrote:\n%s", out[max(0, len(out)-20_000):])
		}
	})
	return l
}

// buildCommand builds the command line.
func buildCommand(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "serviceful")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/serviceful").CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	return program
}

func (l *laptop) output() string { return filepath.Join(l.dir, "output") }

var addresses = regexp.MustCompile(`(?s)serviceful is ready: .*  calls +http://(\S+)/calls/.*  mail +http://(\S+)/v1/mail\n`)

// start starts the program and waits until it is ready: the first time on free
// addresses, and then on the same.
func (l *laptop) start(t *testing.T) {
	t.Helper()
	out, err := os.Create(l.output())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	l.process = exec.Command(l.program, "dev", "-f", filepath.Join(l.dir, "functions"), "--data", l.data(), "--listen", l.url, "--services", l.services)
	l.process.Stdout, l.process.Stderr = out, out
	if err := l.process.Start(); err != nil {
		t.Fatal(err)
	}
	wait(t, "serviceful dev is ready", func() bool {
		text, _ := os.ReadFile(l.output())
		found := addresses.FindSubmatch(text)
		if found != nil {
			l.url, l.services = string(found[1]), string(found[2])
		}
		return found != nil
	})
}

func (l *laptop) data() string { return filepath.Join(l.dir, "data") }
func (l *laptop) name() string { return "laptop" }
func (l *laptop) ns() string   { return namespace }
func (l *laptop) door() string { return "http://" + l.url }

// write puts a Function's manifest in place, at once and whole.
func (l *laptop) write(t *testing.T, name, manifest string) {
	t.Helper()
	folder := filepath.Join(l.dir, "functions", name)
	part := filepath.Join(l.dir, name+".part")
	err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(part, []byte(manifest), 0o600), os.Rename(part, filepath.Join(folder, "function.yaml")))
	if err != nil {
		t.Fatal(err)
	}
}

func (l *laptop) manifest(f function) string {
	return f.manifest(namespace, "example.com/stub", `serviceful.dev/dev-command: "python3 `+l.stub+`"`, "DIRECTOR="+l.director.url, "LISTEN=127.0.0.1")
}

// apply writes manifests, and then one whose route shows that they were taken in.
func (l *laptop) apply(t *testing.T, _ bool, functions ...function) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range functions {
		l.write(t, f.name, l.manifest(f))
	}
	l.takenIn(t)
}

func (l *laptop) remove(t *testing.T, name string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := os.RemoveAll(filepath.Join(l.dir, "functions", name)); err != nil {
		t.Fatal(err)
	}
	l.takenIn(t)
}

// takenIn waits until what the folder holds now is wired.
func (l *laptop) takenIn(t *testing.T) {
	t.Helper()
	l.applied++
	path := fmt.Sprintf("/applied/%d", l.applied)
	l.write(t, "applied", function{"applied", "triggers: [{name: applied, paused: true, http: {path: " + path + "}}]"}.manifest("applied", "none", `serviceful.dev/dev-command: "none"`, "NONE="))
	wait(t, "the manifests are taken in", func() bool {
		resp, err := http.Get("http://" + l.url + path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(body), "trigger-paused") // where it was 404
	})
}

func (l *laptop) refuse(t *testing.T, f function) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "function.yaml")
	if err := os.WriteFile(file, []byte(l.manifest(f)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(l.program, "graph", "-f", file).CombinedOutput()
	if err == nil {
		return ""
	}
	return string(out)
}

func (l *laptop) problem(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(l.output())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "function "+namespace+"/"+name) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func (l *laptop) mails(t *testing.T) []string {
	t.Helper()
	resp, err := http.Get("http://" + l.services + "/v1/mail")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var mails []json.RawMessage
	if err := json.Unmarshal(body, &mails); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	out := make([]string, len(mails))
	for i, m := range mails {
		out[i] = string(m)
	}
	return out
}

// crash kills the program, and all functions with it.
func (l *laptop) crash(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = l.process.Wait() // it was killed
	l.start(t)
}

func (l *laptop) command(t *testing.T, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, l.program, append(args, "--data", l.data())...).CombinedOutput()
	return string(out), err
}
