package process

import (
	"bytes"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/names"
)

func TestLinesAreWhole(t *testing.T) {
	w := newWorld(t)
	fns := []names.Function{offers, {Namespace: "coop", Name: "membership"}}
	for _, fn := range fns {
		w.Set(fn, program("talk"))
	}
	done := make(chan struct{})
	for _, fn := range fns {
		go func() {
			_, _ = w.Acquire(t.Context(), fn)
			done <- struct{}{}
		}()
	}
	<-done
	<-done
	w.stop(t.Context())

	counts := map[string]int{}
	for line := range strings.Lines(w.output.String()) {
		name, text, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " | ")
		if !ok || len(name) != len("membership") {
			t.Fatalf("prefix of %.80q", line)
		}
		kind, _, _ := strings.Cut(text, " ")
		switch {
		case kind == "out" && strings.HasSuffix(text, " "+strings.Repeat("o", 300)):
		case kind == "err" && strings.HasSuffix(text, " "+strings.Repeat("e", 300)):
		case text == strings.Repeat("x", longestLine):
			kind = "long"
		case text == "no newline":
		default:
			t.Fatalf("not a whole line: %.80q (%d bytes)", text, len(text))
		}
		counts[strings.TrimSpace(name)+" "+kind]++
	}
	for _, fn := range fns {
		for kind, want := range map[string]int{"out": 200, "err": 200, "long": 1, "no": 1} {
			if got := counts[fn.Name+" "+kind]; got != want {
				t.Errorf("%s wrote %d lines %q, want %d", fn.Name, got, kind, want)
			}
		}
	}
}

func TestColors(t *testing.T) {
	var out bytes.Buffer
	s := &sink{out: &out, color: true}
	a, b := s.label("offers"), s.label("membership")
	s.write(a, []byte("hello"))
	s.write(b, []byte("hello"))
	want := "\x1b[36moffers     |\x1b[0m hello\n\x1b[33mmembership |\x1b[0m hello\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestTail(t *testing.T) {
	var kept tail
	if got := kept.last(); got != nil {
		t.Errorf("an empty tail is %q", got)
	}
	kept.add([]byte(strings.Repeat("é", tailWidth)))
	if got := kept.last(); len(got) != 1 || got[0] != strings.Repeat("é", tailWidth/2) {
		t.Errorf("a long line is kept as %d bytes", len(got[0]))
	}
}
