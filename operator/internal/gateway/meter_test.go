package gateway

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// notes is a meter that writes down what it is told.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) Begin(rt *wiring.Route) { n.add("begin " + rt.Trigger) }
func (n *notes) End(rt *wiring.Route, status int, took time.Duration) {
	if took <= 0 {
		status = -1
	}
	n.add(fmt.Sprint("end ", rt.Trigger, " ", status))
}

func (n *notes) add(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, line)
}

// TestMeter checks that the meter is told of every request of a route, once, and
// with the status that the caller got.
func TestMeter(t *testing.T) {
	tests := map[string]struct {
		send func(f *fixture)
		want []string
	}{
		"sync":            {func(f *fixture) { f.send("GET /get HTTP/1.1", "") }, []string{"begin get", "end get 404"}},
		"large":           {func(f *fixture) { f.post("/any/", strings.Repeat("a", 100_000), false) }, []string{"begin any", "end any 404"}},
		"too large":       {func(f *fixture) { f.send("POST /any/ HTTP/1.1\nContent-Length: 100000000", "") }, []string{"begin any", "end any 413"}},
		"async":           {func(f *fixture) { f.post("/later/", "body", false) }, []string{"begin later", "end later 202"}},
		"async, refused":  {func(f *fixture) { f.send("POST /later/ HTTP/1.1\nContent-Length: 100000000", "") }, []string{"begin later", "end later 413"}},
		"not started":     {func(f *fixture) { f.send("GET /hasty HTTP/1.1", "") }, []string{"begin hasty", "end hasty 502"}},
		"switches":        {func(f *fixture) { f.send("GET /any/up HTTP/1.1\nConnection: Upgrade\nUpgrade: a", "") }, []string{"begin any", "end any 404"}},
		"breaks off":      {func(f *fixture) { f.breakOff("GET /any/off HTTP/1.1\nHost: a\n\n") }, []string{"begin any", "end any 0"}},
		"no route":        {func(f *fixture) { f.send("GET /nowhere HTTP/1.1", "") }, nil},
		"no route either": {func(f *fixture) { f.send("GET /healthz HTTP/1.1", "") }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			n := &notes{}
			f := newFixture(t, func(c *Config) { c.Meter = n })
			f.world.handle(shop, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if r.URL.Path == "/any/off" {
					w.Header().Set("Content-Length", "10")
					io.WriteString(w, "half")
					http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				w.WriteHeader(http.StatusNotFound)
			})
			test.send(f)
			f.eventually(strings.Join(test.want, ", "), func() bool {
				n.mu.Lock()
				defer n.mu.Unlock()
				return slices.Equal(n.lines, test.want)
			})
		})
	}
}

// breakOff sends a request and reads until the connection ends.
func (f *fixture) breakOff(request string) {
	c := f.dial()
	defer c.Close()
	io.WriteString(c, strings.ReplaceAll(request, "\n", "\r\n"))
	io.Copy(io.Discard, c)
}
