// Package kubectl runs kubectl for tests on a real cluster: the one that the
// environment says.
package kubectl

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// limit is how long one command may take.
const limit = 5 * time.Minute

// Run runs kubectl with input and returns what it prints. The test ends if that
// fails.
func Run(t testing.TB, input string, args ...string) string {
	t.Helper()
	out, err := Try(t, input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Run for a command that may fail. It can be used while a test is cleaned up.
func Try(t testing.TB, input string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(input)
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, failure.String())
	}
	return out.String(), nil
}

// Log logs what commands print, for whoever looks why a test failed.
func Log(t testing.TB, commands ...[]string) {
	t.Helper()
	for _, args := range commands {
		out, err := Try(t, "", args...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
