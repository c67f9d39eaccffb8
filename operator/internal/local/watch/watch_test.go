package watch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

var (
	offers = names.Function{Namespace: "coop", Name: "offers"}
	resize = names.Function{Namespace: "coop", Name: "resize"}
)

func write(t *testing.T, file string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(time.Now().String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// project is a checkout: offers in Go, which imports shared, and resize in
// another language. It returns its folder and a running Watcher.
func project(t *testing.T) (string, *Watcher) {
	t.Helper()
	repository, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for _, file := range []string{
		"go.mod", "shared/shared.go", "unrelated/unrelated.go",
		"functions/offers/main.go", "functions/offers/function.yaml", "functions/offers/pages/index.html",
		"functions/resize/main.py", "functions/resize/lib/lib.py", "functions/resize/function.yaml",
		"functions/resize/node_modules/x/x.js", "functions/data/store",
	} {
		write(t, filepath.Join(repository, file))
	}
	functions := filepath.Join(repository, "functions")
	w, err := New(Config{Roots: []string{functions}, Ignore: []string{filepath.Join(functions, "data")}})
	must(t, err)
	w.Follow([]Target{
		{
			Function: offers,
			Folders:  []string{repository, filepath.Join(repository, "shared"), filepath.Join(functions, "offers")},
			Files:    []string{filepath.Join(functions, "offers", "pages", "index.html")},
		},
		{Function: resize, Dir: filepath.Join(functions, "resize")},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		w.Run(ctx)
		close(ran)
	}()
	t.Cleanup(func() {
		cancel()
		<-ran
	})
	return repository, w
}

// next gathers changes until everything in want was told, and fails when anything
// else was.
func next(t *testing.T, w *Watcher, repository string, want Change) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	var got Change
	for !slices.Equal(got.Manifests, want.Manifests) || !slices.Equal(got.Functions, want.Functions) {
		select {
		case change := <-w.Changes():
			for _, file := range change.Manifests {
				relative, err := filepath.Rel(repository, file)
				must(t, err)
				got.Manifests = append(got.Manifests, filepath.ToSlash(relative))
			}
			got.Functions = append(got.Functions, change.Functions...)
			slices.Sort(got.Manifests)
			got.Manifests = slices.Compact(got.Manifests)
			got.Functions = slices.Compact(got.Functions)
			if len(got.Manifests) > len(want.Manifests) || len(got.Functions) > len(want.Functions) {
				t.Fatalf("got %v, want %v", got, want)
			}
		case <-deadline:
			t.Fatalf("got %v within 2 min, want %v", got, want)
		}
	}
}

func TestChanges(t *testing.T) {
	in := func(fns ...names.Function) []names.Function { return fns }
	tests := map[string]struct {
		do   func(t *testing.T, at func(string) string)
		want Change
	}{
		"a manifest": {
			func(t *testing.T, at func(string) string) { write(t, at("functions/offers/function.yaml")) },
			Change{Manifests: []string{"functions/offers/function.yaml"}},
		},
		"a manifest removed": {
			func(t *testing.T, at func(string) string) { must(t, os.Remove(at("functions/offers/function.yaml"))) },
			Change{Manifests: []string{"functions/offers/function.yaml"}},
		},
		"a new function, three folders deep": {
			func(t *testing.T, at func(string) string) { write(t, at("functions/new/deep/er/function.yml")) },
			Change{Manifests: []string{"functions/new/deep/er/function.yml"}},
		},
		"Go source": {
			func(t *testing.T, at func(string) string) { write(t, at("functions/offers/main.go")) },
			Change{Functions: in(offers)},
		},
		"saved by writing a file and renaming it": {
			func(t *testing.T, at func(string) string) {
				write(t, at("functions/offers/.main.go.swp"))
				must(t, os.Rename(at("functions/offers/main.go"), at("functions/offers/main.go~")))
				must(t, os.Rename(at("functions/offers/.main.go.swp"), at("functions/offers/main.go")))
			},
			Change{Functions: in(offers)},
		},
		"an imported package": {
			func(t *testing.T, at func(string) string) { write(t, at("shared/new.go")) },
			Change{Functions: in(offers)},
		},
		"an imported package goes": {
			func(t *testing.T, at func(string) string) { must(t, os.RemoveAll(at("shared"))) },
			Change{Functions: in(offers)},
		},
		"the module": {
			func(t *testing.T, at func(string) string) { write(t, at("go.mod")) },
			Change{Functions: in(offers)},
		},
		"a new file to embed": {
			func(t *testing.T, at func(string) string) { write(t, at("functions/offers/pages/new.html")) },
			Change{Functions: in(offers)},
		},
		"another language": {
			func(t *testing.T, at func(string) string) { write(t, at("functions/resize/lib/new/new.py")) },
			Change{Functions: in(resize)},
		},
		"both functions and a manifest": {
			func(t *testing.T, at func(string) string) {
				write(t, at("functions/resize/function.yaml"))
				write(t, at("functions/resize/main.py"))
				write(t, at("functions/offers/main.go"))
			},
			Change{Manifests: []string{"functions/resize/function.yaml"}, Functions: in(offers, resize)},
		},
		"what does not count": {
			func(t *testing.T, at func(string) string) {
				write(t, at("functions/offers/main_test.go"))
				write(t, at("functions/offers/README.md"))
				write(t, at("functions/offers/.hidden.go"))
				write(t, at("functions/offers/main.go~"))
				write(t, at("functions/resize/__pycache__/main.pyc"))
				write(t, at("functions/resize/node_modules/x/x.js"))
				write(t, at("functions/resize/.cache/x/x.py"))
				write(t, at("functions/data/store.yaml"))
				write(t, at("unrelated/unrelated.go"))
				must(t, os.Chmod(at("functions/offers/main.go"), 0o644))
				write(t, at("functions/offers/function.yaml")) // the end
			},
			Change{Manifests: []string{"functions/offers/function.yaml"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repository, w := project(t)
			test.do(t, func(file string) string { return filepath.Join(repository, filepath.FromSlash(file)) })
			next(t, w, repository, test.want)
		})
	}
}

// A folder that goes and comes back, as in a checkout of another branch, is still
// watched.
func TestFoldersComeAndGo(t *testing.T) {
	repository, w := project(t)
	shared := filepath.Join(repository, "shared")
	must(t, os.RemoveAll(shared))
	next(t, w, repository, Change{Functions: []names.Function{offers}})
	write(t, filepath.Join(shared, "shared.go"))
	next(t, w, repository, Change{Functions: []names.Function{offers}})
	write(t, filepath.Join(shared, "shared.go"))
	next(t, w, repository, Change{Functions: []names.Function{offers}})

	a, b := filepath.Join(repository, "functions", "resize"), filepath.Join(repository, "functions", "smaller")
	for range 5 {
		must(t, os.Rename(a, b))
		next(t, w, repository, Change{
			Manifests: []string{"functions/resize", "functions/smaller/function.yaml"}, Functions: []names.Function{resize},
		})
		write(t, filepath.Join(b, "function.yaml"))
		next(t, w, repository, Change{Manifests: []string{"functions/smaller/function.yaml"}})
		must(t, os.Rename(b, a))
		next(t, w, repository, Change{
			Manifests: []string{"functions/resize/function.yaml", "functions/smaller"}, Functions: []names.Function{resize},
		})
		write(t, filepath.Join(a, "lib", "lib.py"))
		next(t, w, repository, Change{Functions: []names.Function{resize}})
	}
}

func TestASingleFileAsRoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	file := filepath.Join(dir, "function.yaml")
	write(t, file)
	w, err := New(Config{Roots: []string{file}})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go w.Run(ctx)
	write(t, filepath.Join(dir, "other.yaml"))
	write(t, file)
	next(t, w, dir, Change{Manifests: []string{"function.yaml"}})
	cancel()
	if _, open := <-w.Changes(); open {
		t.Error("Changes is open after Run")
	}
}

func TestNoSuchRoot(t *testing.T) {
	if _, err := New(Config{Roots: []string{filepath.Join(t.TempDir(), "missing")}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("New: %v", err)
	}
}

// What changes while nobody takes changes is told in one.
func TestChangesGather(t *testing.T) {
	w := &Watcher{
		config:  Config{Roots: []string{"/r"}},
		targets: []Target{{Function: resize, Dir: "/r/resize"}},
		pending: newPending(),
	}
	for _, path := range []string{"/r/b.yaml", "/r/a.yaml", "/r/a.yaml", "/r/resize/x.py", "/r/resize/y.py"} {
		if !w.note(path) {
			t.Errorf("%s means nothing", path)
		}
	}
	got := w.settled()
	if !slices.Equal(got.Manifests, []string{"/r/a.yaml", "/r/b.yaml"}) || !slices.Equal(got.Functions, []names.Function{resize}) {
		t.Errorf("got %v", got)
	}
	w.note("/r/c.yaml") // too late for got
	w.told(got)
	if got = w.settled(); !slices.Equal(got.Manifests, []string{"/r/c.yaml"}) || len(got.Functions) > 0 {
		t.Errorf("after telling: %v", got)
	}
	w.told(got)
	w.everything()
	if got = w.settled(); !slices.Equal(got.Manifests, []string{"/r"}) || !slices.Equal(got.Functions, []names.Function{resize}) {
		t.Errorf("after lost events: %v", got)
	}
}

func TestWait(t *testing.T) {
	now := time.Now()
	w := &Watcher{pending: newPending()}
	if got := w.wait(now); got != settle {
		t.Errorf("first event: %s", got)
	}
	if got := w.wait(now.Add(patience - settle/2)); got != settle/2 {
		t.Errorf("after a long time: %s", got)
	}
	if got := w.wait(now.Add(2 * patience)); got != 0 {
		t.Errorf("after too long: %s", got)
	}
}

// What changed before it was watched is told by its time.
func TestSince(t *testing.T) {
	tests := map[string]struct {
		written time.Duration // from Since
		want    bool
	}{
		"before":        {-time.Hour, false},
		"after":         {time.Minute, true},
		"in the future": {2 * time.Hour, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			since := time.Now().Add(-time.Hour)
			dir := t.TempDir()
			for _, target := range []Target{
				{Function: resize, Since: since, Dir: dir},
				{Function: resize, Since: since, Folders: []string{dir}},
				{Function: resize, Since: since, Files: []string{filepath.Join(dir, "main.go")}},
			} {
				file := filepath.Join(dir, "main.go")
				write(t, file)
				must(t, os.Chtimes(file, time.Time{}, since.Add(test.written)))
				w, err := New(Config{Roots: []string{dir}})
				must(t, err)
				w.Follow([]Target{target})
				if told := len(w.noted) > 0 && len(w.settled().Functions) > 0; told != test.want {
					t.Errorf("told: %v, want %v, for %+v", told, test.want, target)
				}
				must(t, w.files.Close())
			}
		})
	}
}
