package perftmp

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

func TestSync(t *testing.T) {
	fn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	defer fn.Close()
	f := v1alpha1.Function{}
	f.Namespace, f.Name = "bench", "sink"
	f.Spec.Triggers = []v1alpha1.Trigger{{Name: "sync", HTTP: &v1alpha1.HTTPSource{Methods: []string{"GET"}, Path: "/sync"}}}
	snap := wiring.Compile([]v1alpha1.Function{f}, wiring.Hosts{Any: true})
	b := natstest.Connect(t, natstest.Server(t))
	door, err := gateway.New(gateway.Config{World: world{strings.TrimPrefix(fn.URL, "http://")}, Inbox: b, Calls: b, Snapshot: func() *wiring.Snapshot { return snap }, Ready: func() error { return nil }, Transport: invoke.NewTransport(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	go http.Serve(l, door)
	run := func(url string, dur time.Duration) float64 {
		tr := &http.Transport{MaxIdleConnsPerHost: 64}
		c := &http.Client{Transport: tr}
		defer tr.CloseIdleConnections()
		var n atomic.Int64
		var wg sync.WaitGroup
		end := time.Now().Add(dur)
		for range 64 {
			wg.Go(func() {
				for time.Now().Before(end) {
					resp, err := c.Get(url)
					if err != nil {
						t.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return float64(n.Load()) / dur.Seconds()
	}
	for range 3 {
		raw := run(fn.URL+"/sync", 2*time.Second)
		ours := run("http://"+l.Addr().String()+"/sync", 3*time.Second)
		t.Logf("raw %.0f ours %.0f ratio %.3f", raw, ours, ours/raw)
	}
}
