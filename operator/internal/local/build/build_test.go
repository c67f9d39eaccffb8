package build

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func fn(name string) names.Function { return names.Function{Namespace: "coop", Name: name} }

// module writes a module example.com/shop with files, and returns its folder.
func module(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, map[string]string{"go.mod": "module example.com/shop\n\ngo 1.21\n"})
	write(t, root, files)
	return root
}

func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func says(word string) string { return "package main\n\nfunc main() { println(\"" + word + "\") }\n" }

func newBuilder(t testing.TB, dir string) (*Builder, *bytes.Buffer) {
	t.Helper()
	var progress bytes.Buffer
	b, err := New(dir, &progress)
	if err != nil {
		t.Fatal(err)
	}
	return b, &progress
}

func output(t *testing.T, result Result) string {
	t.Helper()
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	out, err := exec.Command(result.Path).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestBuild(t *testing.T) {
	root := module(t, map[string]string{
		"functions/membership/main.go": says("membership"),
		"functions/offers/main.go":     says("offers"),
		"legacy/offers/main.go":        says("old offers"),
		"mail/v2/main.go":              says("mail"),
	})
	targets := []Target{
		{fn("membership"), "example.com/shop/functions/membership", filepath.Join(root, "functions", "membership")},
		{fn("offers"), "example.com/shop/functions/offers", filepath.Join(root, "functions", "offers")},
		{fn("old-offers"), "example.com/shop/legacy/offers", root},
		{fn("mail"), "example.com/shop/mail/v2", root},
		{fn("more-offers"), "example.com/shop/functions/offers", root},
	}
	dir := t.TempDir()
	b, progress := newBuilder(t, dir)
	first := b.Build(t.Context(), targets)
	for name, want := range map[string]string{
		"membership": "membership", "offers": "offers", "old-offers": "old offers", "mail": "mail", "more-offers": "offers",
	} {
		if got := output(t, first[fn(name)]); got != want {
			t.Errorf("%s says %q, want %q", name, got, want)
		}
		for _, line := range []string{"building " + name + " ...\n", "built " + name + " in "} {
			if !strings.Contains(progress.String(), line) {
				t.Errorf("progress lacks %q:\n%s", line, progress)
			}
		}
	}

	b, _ = newBuilder(t, dir) // a later run
	if again := b.Build(t.Context(), targets); !maps.Equal(again, first) {
		t.Errorf("an unchanged build gave %v, want %v", again, first)
	}
}

func TestChange(t *testing.T) {
	root := module(t, map[string]string{"a/main.go": says("one"), "b/main.go": says("b")})
	targets := []Target{{fn("a"), "example.com/shop/a", root}, {fn("b"), "example.com/shop/b", root}}
	b, _ := newBuilder(t, t.TempDir())
	one := b.Build(t.Context(), targets)
	write(t, root, map[string]string{"a/main.go": says("two")})
	two := b.Build(t.Context(), targets[:1])
	if one[fn("a")].Hash == two[fn("a")].Hash {
		t.Error("a change gave the same program")
	}
	if got := output(t, one[fn("a")]) + output(t, two[fn("a")]); got != "onetwo" {
		t.Errorf("the old and the new program say %q", got)
	}
	three := b.Build(t.Context(), targets)
	if three[fn("b")] != one[fn("b")] {
		t.Error("b changed without a change")
	}
	write(t, root, map[string]string{"a/main.go": says("three")})
	b.Build(t.Context(), targets)
	if _, err := os.Stat(one[fn("a")].Path); !os.IsNotExist(err) {
		t.Errorf("the oldest program is still there: %v", err)
	}
	if got := output(t, two[fn("a")]); got != "two" {
		t.Errorf("the program that may still run says %q", got)
	}
}

func TestErrors(t *testing.T) {
	root := module(t, map[string]string{
		"good/main.go":    says("good"),
		"broken/main.go":  "package main\n\nfunc main() { undefinedName() }\n",
		"library/lib.go":  "package library\n",
		"garbage/main.go": "package main\n\nfunc {\n",
	})
	outside := t.TempDir()
	tests := map[string]struct {
		pkg, dir string
		want     string
	}{
		"good":    {"example.com/shop/good", root, ""},
		"broken":  {"example.com/shop/broken", root, "broken/main.go:3:15: undefined: undefinedName"},
		"garbage": {"example.com/shop/garbage", root, "garbage/main.go:3:6: syntax error"},
		"library": {"example.com/shop/library", root, "no main packages"},
		"missing": {"example.com/shop/missing", root, "example.com/shop/missing"},
		"outside": {"example.com/shop/good", outside, "go.mod"},
	}
	var targets []Target
	for name, test := range tests {
		targets = append(targets, Target{fn(name), test.pkg, test.dir})
	}
	b, progress := newBuilder(t, t.TempDir())
	results := b.Build(t.Context(), targets)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result := results[fn(name)]
			if test.want == "" {
				if got := output(t, result); got != name {
					t.Errorf("it says %q", got)
				}
				return
			}
			if result.Err == nil || result.Err.Reason != invoke.NotBuilt || result.Err.Function != fn(name) {
				t.Fatalf("got %+v", result)
			}
			if !strings.Contains(result.Err.Error(), test.want) {
				t.Errorf("got %q, want it to say %q", result.Err, test.want)
			}
			if line := name + " did not build: " + result.Err.Detail; !strings.Contains(progress.String(), line) {
				t.Errorf("progress lacks %q:\n%s", line, progress)
			}
		})
	}
}

func TestLibraryBesideAProgram(t *testing.T) {
	root := module(t, map[string]string{"good/main.go": says("good"), "library/lib.go": "package library\n"})
	b, _ := newBuilder(t, t.TempDir())
	results := b.Build(t.Context(), []Target{
		{fn("good"), "example.com/shop/good", root}, {fn("library"), "example.com/shop/library", root},
	})
	if err := results[fn("library")].Err; err == nil || !strings.Contains(err.Detail, "main package") {
		t.Errorf("library: %v", err)
	}
	if got := output(t, results[fn("good")]); got != "good" {
		t.Errorf("good says %q", got)
	}
}

func TestCancelled(t *testing.T) {
	root := module(t, map[string]string{"a/main.go": says("a")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b, _ := newBuilder(t, t.TempDir())
	result := b.Build(ctx, []Target{{fn("a"), "example.com/shop/a", root}})[fn("a")]
	if result.Err == nil || !strings.Contains(result.Err.Detail, "canceled") {
		t.Errorf("got %+v", result)
	}
}

func TestSources(t *testing.T) {
	root := module(t, map[string]string{
		"a/main.go":          "package main\n\nimport (\n_ \"embed\"\n_ \"example.com/shop/shared\"\n_ \"example.com/other\"\n_ \"net/http\"\n)\n\n//go:embed pages/index.html\nvar page string\n\nfunc main() {}\n",
		"a/pages/index.html": "<p>",
		"b/main.go":          "package main\n\nfunc main() { undefinedName() }\n",
		"shared/shared.go":   "package shared\n",
		"other/go.mod":       "module example.com/other\n",
		"other/other.go":     "package other\n",
		"go.mod":             "module example.com/shop\n\ngo 1.21\n\nrequire example.com/other v0.0.0\n\nreplace example.com/other => ./other\n",
	})
	b, _ := newBuilder(t, t.TempDir())
	got, err := b.Sources(t.Context(), []Target{{fn("a"), "example.com/shop/a", root}, {fn("b"), "example.com/shop/b", root}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[names.Function]Sources{
		fn("a"): {
			Folders:  []string{root, filepath.Join(root, "a"), filepath.Join(root, "other"), filepath.Join(root, "shared")},
			Embedded: []string{filepath.Join(root, "a", "pages", "index.html")},
		},
		fn("b"): {Folders: []string{root, filepath.Join(root, "b")}},
	}
	for name, s := range want {
		if !slices.Equal(got[name].Folders, s.Folders) || !slices.Equal(got[name].Embedded, s.Embedded) {
			t.Errorf("sources of %s: %+v, want %+v", name, got[name], s)
		}
	}
	if _, err := b.Sources(t.Context(), []Target{{fn("a"), "example.com/shop/a", "/no/such/folder"}}); err == nil {
		t.Error("no error for a folder that does not exist")
	}
}

func BenchmarkUpToDate(b *testing.B) {
	files := map[string]string{}
	var targets []Target
	root := module(b, nil)
	for _, name := range []string{"membership", "offers", "notifications"} {
		files[name+"/main.go"] = "package main\n\nimport \"net/http\"\n\nfunc main() { _ = http.ListenAndServe(\"\", nil) }\n"
		targets = append(targets, Target{fn(name), "example.com/shop/" + name, root})
	}
	write(b, root, files)
	builder, _ := newBuilder(b, b.TempDir())
	builder.Build(b.Context(), targets)
	for b.Loop() {
		builder.Build(b.Context(), targets)
	}
}
