package deploy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/local/process"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// The test binary is also a function in "another language": it answers with the
// content of the file word that it read at its start.
func TestMain(m *testing.M) {
	if os.Getenv("BE_A_FUNCTION") != "" {
		word, err := os.ReadFile("word")
		if err != nil {
			os.Exit(1)
		}
		_ = http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(word)
		}))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// goSource answers with the word in package word; /slow only when the file
// "finish" exists.
const goSource = `package main

import (
	"io"
	"net/http"
	"os"
	"time"

	"example.com/shop/word"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, word.Word) })
	http.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := os.Stat("finish"); err == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		_, _ = io.WriteString(w, word.Word)
	})
	_ = http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil)
}
`

var (
	offers = names.Function{Namespace: "coop", Name: "offers"} // Go
	resize = names.Function{Namespace: "coop", Name: "resize"} // a command
)

// shop is a checkout with both functions, deployed and watched.
type shop struct {
	*Deployer
	t         *testing.T
	root      string
	processes *process.Processes
	manifests chan []string
	progress  *lockedBuilder
}

type lockedBuilder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newShop(t *testing.T) *shop {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t, root: root, manifests: make(chan []string, 100), progress: &lockedBuilder{}}
	s.write("go.mod", "module example.com/shop\n\ngo 1.21\n")
	s.write("word/word.go", "package word\n\nconst Word = \"one\"\n")
	s.write("functions/offers/main.go", goSource)
	s.write("functions/offers/function.yaml", "x")
	s.write("functions/resize/word", "uno")
	s.write("functions/resize/function.yaml", "x")

	data := filepath.Join(root, ".serviceful")
	if s.processes, err = process.New(process.Config{
		Dir: data, ServicesURL: "http://127.0.0.1:1", Start: 20 * time.Second,
		Issue: func(names.Function) (string, func()) { return "token", func() {} },
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		s.processes.Stop(ctx)
	})
	if s.Deployer, err = New(Config{
		Dir: data, Roots: []string{filepath.Join(root, "functions")}, Processes: s.processes, Progress: s.progress,
	}); err != nil {
		t.Fatal(err)
	}
	if failed := s.Apply(t.Context(), s.deployments()); len(failed) > 0 {
		t.Fatal(failed)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		s.Watch(ctx, func(files []string) { s.manifests <- files })
		close(watched)
	}()
	t.Cleanup(func() {
		cancel()
		<-watched
	})
	return s
}

func (s *shop) deployments() []Deployment {
	function := func(fn names.Function) Deployment {
		return Deployment{
			Function: &v1alpha1.Function{ObjectMeta: metav1.ObjectMeta{Namespace: fn.Namespace, Name: fn.Name}},
			Manifest: filepath.Join(s.root, "functions", fn.Name, "function.yaml"),
		}
	}
	a, b := function(offers), function(resize)
	a.Function.Spec.Image = "ko://example.com/shop/functions/offers"
	b.Function.Spec.Image = "registry.example.com/resize"
	b.Function.Annotations = map[string]string{DevCommand: os.Args[0]}
	b.Function.Spec.Env = []v1alpha1.EnvVar{{Name: "BE_A_FUNCTION", Value: "yes"}}
	return []Deployment{a, b}
}

func (s *shop) write(file, content string) {
	s.t.Helper()
	path := filepath.Join(s.root, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// call returns fn's answer, or the error's text.
func (s *shop) call(fn names.Function, path string) string {
	lease, err := s.processes.Acquire(s.t.Context(), fn)
	if err != nil {
		return err.Error()
	}
	defer lease.Release()
	response, err := http.Get("http://" + lease.Address + path)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

func (s *shop) expect(fn names.Function, want string) {
	s.t.Helper()
	s.eventually(want, func() string { return s.call(fn, "/") })
}

func (s *shop) eventually(want string, get func() string) {
	s.t.Helper()
	var got string
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = get(); strings.Contains(got, want) {
			return
		}
	}
	s.t.Fatalf("got %q within 2 min, want %q", got, want)
}

func TestSourceChanges(t *testing.T) {
	s := newShop(t)
	s.expect(offers, "one")
	s.expect(resize, "uno")

	slow := make(chan string, 1)
	go func() { slow <- s.call(offers, "/slow") }()
	s.eventually("1", func() string {
		for _, running := range s.processes.Running() {
			if running.Function == offers && running.InFlight > 0 {
				return "1"
			}
		}
		return "0"
	})
	s.write("word/word.go", "package word\n\nconst Word = \"two\"\n")
	s.expect(offers, "two")
	s.write("functions/offers/finish", "")
	if got := <-slow; got != "one" {
		t.Errorf("the call in flight ended with %q", got)
	}

	s.write("word/word.go", "package word\n\nconst Word = two\n")
	s.eventually("offers did not build: word/word.go:3:14: undefined: two", s.progress.String)
	if got := s.call(offers, "/"); got != "two" {
		t.Errorf("after a broken build, the old program answers %q", got)
	}
	s.write("word/word.go", "package word\n\nconst Word = \"three\"\n")
	s.expect(offers, "three")

	s.write("functions/resize/word", "due")
	s.expect(resize, "due")
}

func TestManifestChanges(t *testing.T) {
	s := newShop(t)
	s.expect(offers, "one")
	manifest := filepath.Join(s.root, "functions", "offers", "function.yaml")
	s.write("functions/offers/function.yaml", "y")
	if got := <-s.manifests; len(got) != 1 || got[0] != manifest {
		t.Errorf("changed manifests: %v", got)
	}

	pid := func() int {
		for _, running := range s.processes.Running() {
			if running.Function == offers && running.Ready {
				return running.PID
			}
		}
		return 0
	}
	before := pid()
	if failed := s.Apply(t.Context(), s.deployments()); len(failed) > 0 || pid() != before {
		t.Errorf("applying the same again restarted offers, or failed: %v", failed)
	}

	broken := s.deployments()
	broken[0].Function.Spec.Image = "registry.example.com/offers"
	failed := s.Apply(t.Context(), broken)
	if failed[offers] == nil || failed[offers].Reason != invoke.NotBuilt || len(failed) != 1 {
		t.Errorf("failed: %v", failed)
	}
	if got := s.call(offers, "/"); got != "one" {
		t.Errorf("after a bad manifest, the old program answers %q", got)
	}

	s.Apply(t.Context(), broken[1:])
	var unknown *invoke.StartError
	if _, err := s.processes.Acquire(t.Context(), offers); !errors.As(err, &unknown) || unknown.Reason != invoke.Unknown {
		t.Errorf("a removed function: %v", err)
	}
	s.expect(resize, "uno")
}

func TestNotBuilt(t *testing.T) {
	s := newShop(t)
	added := s.deployments()
	fn := added[0].Function.DeepCopy()
	fn.Name, fn.Spec.Image = "broken", "ko://example.com/shop/functions/broken"
	s.write("functions/broken/main.go", "package main\n\nfunc main() { nothing() }\n")
	added = append(added, Deployment{Function: fn, Manifest: filepath.Join(s.root, "functions", "broken", "function.yaml")})
	broken := names.Function{Namespace: "coop", Name: "broken"}
	if failed := s.Apply(t.Context(), added); failed[broken] == nil || len(failed) != 1 {
		t.Fatalf("failed: %v", failed)
	}
	if got := s.call(broken, "/"); !strings.Contains(got, "functions/broken/main.go:3:15: undefined: nothing") {
		t.Errorf("a call to it gets %q", got)
	}
	s.expect(offers, "one")
	s.write("functions/offers/function.yaml", "z") // so that the new function's sources are watched
	<-s.manifests
	s.write("functions/broken/main.go", strings.ReplaceAll(goSource, "word.Word", `"mended " + word.Word`))
	s.expect(broken, "mended one")
}

func TestConfig(t *testing.T) {
	tests := map[string]struct {
		config Config
		want   string
	}{
		"no folder":    {Config{Roots: []string{"x"}, Processes: &process.Processes{}}, "Dir"},
		"no roots":     {Config{Dir: "x", Processes: &process.Processes{}}, "Roots"},
		"no processes": {Config{Dir: "x", Roots: []string{"x"}}, "Processes"},
		"no such root": {Config{Dir: "x", Roots: []string{"/no/such"}, Processes: &process.Processes{}}, "/no/such"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: %v, want an error about %s", err, test.want)
			}
		})
	}
}
