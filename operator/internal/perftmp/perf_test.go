package perftmp

import (
	"context"
	"fmt"
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
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/identity"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/services"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

type world struct{ addr string }

func (w world) Acquire(ctx context.Context, f names.Function) (invoke.Lease, error) {
	return invoke.Lease{Address: w.addr, Release: func() {}}, nil
}

type nomail struct{}

func (nomail) Send(context.Context, string, mail.Message) error { return nil }

func TestPerf(t *testing.T) {
	var got atomic.Int64
	fn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got.Add(1)
		w.WriteHeader(204)
	}))
	defer fn.Close()
	s := natstest.Server(t)
	con := int32(128)
	f := v1alpha1.Function{}
	f.Namespace, f.Name = "bench", "sink"
	f.Spec.Emits = []string{"bench.sent.v1"}
	f.Spec.Triggers = []v1alpha1.Trigger{{Name: "sent", Event: &v1alpha1.EventSource{Types: []string{"bench.sent.v1"}}, Delivery: &v1alpha1.Delivery{Concurrency: &con}}}
	snap := wiring.Compile([]v1alpha1.Function{f}, wiring.Hosts{Any: true})
	b := natstest.Connect(t, s)
	if err := (bus.Layout{Bus: b}).Apply(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	b2 := natstest.Connect(t, s)
	cur := func() *wiring.Snapshot { return snap }
	log := slog.New(slog.DiscardHandler)
	d, err := dispatch.New(dispatch.Config{Source: b2, Keeper: b2, Events: b2, World: world{strings.TrimPrefix(fn.URL, "http://")}, Mailer: nomail{}, Snapshot: cur, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	tok := &identity.Tokens{}
	token, _ := tok.Issue(names.Function{"bench", "sink"})
	door, err := services.New(services.Config{Identifier: tok, Events: b, Buckets: b, Outbox: b, Snapshot: cur, MaxBody: 1 << 20, Ready: func() error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	go http.Serve(l, door)
	run := func(url string, dur time.Duration, pre string) int {
		tr := &http.Transport{MaxIdleConnsPerHost: 64}
		c := &http.Client{Transport: tr}
		defer tr.CloseIdleConnections()
		body := strings.Repeat("x", 256)
		var n atomic.Int64
		var wg sync.WaitGroup
		end := time.Now().Add(dur)
		for g := range 64 {
			wg.Go(func() {
				for i := 0; time.Now().Before(end); i++ {
					req, _ := http.NewRequest("POST", url, strings.NewReader(body))
					req.Header.Set("Authorization", "Bearer "+token)
					req.Header.Set("Content-Type", "text/plain")
					req.Header.Set("Ce-Specversion", "1.0")
					req.Header.Set("Ce-Id", fmt.Sprintf("%s-%d-%d", pre, g, i))
					req.Header.Set("Ce-Source", "/bench")
					req.Header.Set("Ce-Type", "bench.sent.v1")
					resp, err := c.Do(req)
					if err != nil {
						t.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode/100 != 2 {
						t.Error(resp.Status)
						return
					}
					n.Add(1)
				}
			})
		}
		wg.Wait()
		return int(n.Load())
	}
	for i := range 4 {
		n := run(fn.URL, 2*time.Second, "raw")
		raw := float64(n) / 2
		got.Store(0)
		start := time.Now()
		n = run("http://"+l.Addr().String()+"/v1/events", 3*time.Second, fmt.Sprint("o", i))
		for got.Load() < int64(n) {
			time.Sleep(time.Millisecond)
		}
		ours := float64(n) / time.Since(start).Seconds()
		t.Logf("raw %.0f ours %.0f ratio %.3f (sent %d, backlog drain %v)", raw, ours, ours/raw, n, time.Since(start)-3*time.Second)
	}
}
