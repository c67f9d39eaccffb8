package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// command builds the command line, and returns how to run it on the cluster: what
// it prints, and whether it ended well.
func command(s *space) func(args ...string) (string, error) {
	s.Helper()
	binary := filepath.Join(s.TempDir(), "serviceful")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/serviceful").CombinedOutput(); err != nil {
		s.Fatalf("building the command: %v\n%s", err, out)
	}
	return func(args ...string) (string, error) {
		cmd := exec.CommandContext(s.Context(), binary, args...)
		cmd.Dir = s.TempDir() // where no data folder is
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// TestDeadLetters has a function removed that never could start: the call that
// waited for it is a dead letter. A new one is given the events that the old one
// has missed, and then the call.
func TestDeadLetters(t *testing.T) {
	s := newSpace(t)
	serviceful := command(s)
	mustRun := func(want string, args ...string) {
		t.Helper()
		out, err := serviceful(append(args, "-n", s.name)...)
		if err != nil || !strings.Contains(out, want) || !strings.Contains(out, "on the cluster of context ") {
			t.Fatalf("serviceful %s: %v; want %q in:\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	good := s.functions()
	s.apply(unpullable(t, good, "offers"), "membership")
	var member struct{ Number string }
	s.mustCall(201, "POST", "/members", `{"name": "Ada", "email": "ada@example.com", "postcode": "AB1 2CD"}`).decode(t, &member)
	call := s.mustCall(202, "POST", "/members/"+member.Number+"/offers/welcome-coffee/redemptions", "").header.Get("Location")
	state := func() string {
		a, err := s.call("GET", call, "")
		if err != nil {
			return ""
		}
		return a.body
	}
	s.kubectl("", "-n", s.name, "delete", "function", "offers", "--timeout=240s")
	s.eventually("the call is dead", func() bool { return strings.Contains(state(), `"dead"`) })
	mustRun("TriggerRemoved", "dead", "list")
	if out, err := serviceful("dead", "replay", "--all", "-n", s.name); err == nil || !strings.Contains(out, "refused") {
		t.Errorf("replayed to nobody: %v\n%s", err, out)
	}

	s.apply(good, "offers")
	mustRun("1 event would be sent", "replay", "--trigger", "offers/welcome", "--from", "1h", "--dry-run")
	mustRun("1 sent", "replay", "--trigger", "offers/welcome", "--from", "1h")
	s.eventually("the welcome offers are there", func() bool {
		a, err := s.call("GET", "/members/"+member.Number+"/offers", "")
		return err == nil && strings.Contains(a.body, "welcome-coffee")
	})
	mustRun("replayed", "dead", "replay", "--all", "--dry-run")
	mustRun("1 replayed", "dead", "replay", "--all")
	s.eventually("the redemption is done", func() bool { return strings.Contains(state(), `"succeeded"`) })
	mustRun("no dead letters", "dead", "list")
}
