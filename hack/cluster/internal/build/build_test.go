package build

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// part writes a module with one program and returns its builder.
func part(t *testing.T) (Builder, Program, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	b := Builder{Source: t.TempDir(), Cache: t.TempDir(), Out: &out}
	write(t, b, "go.mod", "module example.test/greet\n\ngo 1.26.0\n")
	write(t, b, "main.go", "package main\n\nvar version = \"none\"\n\nfunc main() { println(version) }\n")
	return b, Program{Name: "greet", Part: "greet", Package: ".", LDFlags: "-X main.version=v1"}, &out
}

func write(t *testing.T, b Builder, file, text string) {
	t.Helper()
	folder := filepath.Join(b.Source, "parts", "greet")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuildsOnce(t *testing.T) {
	b, p, out := part(t)
	folder, err := b.Build(t.Context(), []Program{p})
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(filepath.Join(folder, "greet")).CombinedOutput()
	if err != nil || strings.TrimSpace(string(said)) != "v1" {
		t.Fatalf("the program said %q, %v", said, err)
	}
	if !strings.Contains(out.String(), "building greet (1/1)") {
		t.Fatalf("progress: %q", out)
	}
	out.Reset()
	again, err := b.Build(t.Context(), []Program{p})
	if err != nil || again != folder || out.Len() > 0 {
		t.Fatalf("the second build went to %s, not %s, and said %q, %v", again, folder, out, err)
	}
}

func TestEverythingThatMattersIsInTheKey(t *testing.T) {
	b, p, _ := part(t)
	seen := map[string]string{}
	note := func(what string, p Program) {
		path, err := b.path(p)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[path]; ok {
			t.Errorf("%s has the key of %s", what, other)
		}
		seen[path] = what
	}
	note("the program", p)
	flags := p
	flags.LDFlags = "-X main.version=v2"
	note("another flag", flags)
	write(t, b, "go.sum", "example.test/other v1.0.0 h1:AAAA=\n")
	note("another go.sum", p)
	write(t, b, "main.go", "package main\n\nfunc main() {}\n")
	note("another source", p)
}

func TestAFailedBuildSaysWhyAndLeavesNothing(t *testing.T) {
	b, p, _ := part(t)
	write(t, b, "main.go", "package main\n\nfunc main() { undefined() }\n")
	_, err := b.Build(t.Context(), []Program{p})
	if err == nil || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Fatalf("error: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(b.Cache, "programs", "*", "*"))
	if err != nil || len(left) > 0 {
		t.Fatalf("left: %v, %v", left, err)
	}
}
