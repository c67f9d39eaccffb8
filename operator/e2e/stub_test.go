package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// recorder keeps what the stub functions of a test say that they handled. It is
// the functions' own record: nothing that is killed takes any of it away.
type recorder struct {
	url  string
	mu   sync.Mutex
	seen map[string]int // by "<trigger>/<id>"
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(hostAddress, "0"))
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{url: "http://" + l.Addr().String(), seen: map[string]int{}}
	server := &http.Server{Handler: r}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return r
}

// ServeHTTP notes POST /<trigger>/<id>.
func (r *recorder) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[strings.TrimPrefix(req.URL.Path, "/")]++
}

// counts are how often each was handled until now.
func (r *recorder) counts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.seen)
}

func (r *recorder) has(key string) bool { return r.counts()[key] > 0 }

// stub is a Function of the image of ./stub. The rest is what follows in its
// spec; env are NAME=value.
func (s *space) stub(name, rest string, env ...string) string {
	s.Helper()
	image := os.Getenv("E2E_STUB")
	if image == "" {
		s.Fatal("E2E_STUB names no image: run hack/e2e")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {name: %s, namespace: %s}\nspec:\n  image: %s\n", name, s.name, image)
	for i, variable := range env {
		if i == 0 {
			b.WriteString("  env:\n")
		}
		key, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&b, "  - {name: %s, value: %q}\n", key, value)
	}
	for line := range strings.Lines(strings.TrimSpace(rest)) {
		b.WriteString("  " + line)
	}
	b.WriteString("\n")
	return b.String()
}
