// Package dataplane is what the two programs of the data plane start with: the
// flags that both have, the way to the cluster and to NATS, logs and metrics.
package dataplane

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/kube"
	"github.com/serviceful/serviceful/operator/internal/metrics"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Options are the flags that both programs have.
type Options struct{ nats, credentials, metrics string }

// AddTo adds them to a program's own.
func (o *Options) AddTo(f *pflag.FlagSet) {
	f.StringVar(&o.nats, "nats", "nats://serviceful-nats:4222", "URL of NATS; several servers separated by commas")
	f.StringVar(&o.credentials, "nats-credentials", "", "file of credentials for NATS")
	f.StringVar(&o.metrics, "metrics", ":9090", "address of Prometheus metrics, at /metrics; empty: none")
}

// Main runs a program until it ends by itself or is told to; a second signal
// ends it at once.
func Main(cmd *cobra.Command) {
	libraries := logr.FromSlogHandler(logs())
	ctrl.SetLogger(libraries)
	klog.SetLogger(libraries)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, cmd.Name()+": "+err.Error())
		os.Exit(1)
	}
}

func logs() slog.Handler { return slog.NewJSONHandler(os.Stderr, nil) }

// Plane is what a program of the data plane stands on, from Open to Close.
type Plane struct {
	Log      *slog.Logger
	REST     *rest.Config
	Bus      *bus.Bus
	World    *metrics.World
	Metrics  *metrics.Metrics
	cluster  *kube.World
	snapshot atomic.Pointer[wiring.Snapshot]
	closers  []func() // in the order they were opened
}

// Open connects a program to NATS and to the cluster. It waits for both, until
// ctx ends, and says in the log what for. A namespace without a host of its own
// answers on <namespace>.<domain>.
func Open(ctx context.Context, program, domain string, o Options) (_ *Plane, err error) {
	p := &Plane{Log: slog.New(logs())}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if p.REST, err = config.GetConfig(); err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	nc, err := bus.Connect(ctx, bus.ConnectConfig{URL: o.nats, Credentials: o.credentials, Name: program, Logger: p.Log})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, nc.Close)
	if p.Bus, err = bus.New(nc); err != nil {
		return nil, err
	}
	p.Bus.GroupEvents = true // NATS syncs its disk before each answer
	p.Metrics = metrics.New(p.Bus)
	if o.metrics != "" {
		scraped, err := Listen("--metrics", o.metrics, p.Metrics.Handler())
		if err != nil {
			return nil, err
		}
		p.closers = append(p.closers, scraped.Close)
	}
	if p.cluster, err = p.findCluster(ctx, domain); err != nil {
		return nil, err
	}
	p.World = p.Metrics.World(p.cluster)
	if err := p.watch(ctx); err != nil {
		return nil, err
	}
	first, err := p.cluster.Compile(ctx)
	p.snapshot.Store(first)
	return p, err
}

// clusterPause is the pause before an API server that is away is tried again.
const clusterPause = 2 * time.Second

func (p *Plane) findCluster(ctx context.Context, domain string) (*kube.World, error) {
	for {
		w, err := kube.New(kube.Config{REST: p.REST, Domain: domain, Logger: p.Log})
		if err == nil {
			return w, nil
		}
		p.Log.Warn("waiting for the API server", "url", p.REST.Host, "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(clusterPause):
		}
	}
}

// watch watches the cluster until Close: requests under way lean on it for longer
// than ctx. Only the start ends with ctx.
func (p *Plane) watch(ctx context.Context) error {
	living, end := context.WithCancelCause(context.WithoutCancel(ctx))
	p.closers = append(p.closers, func() { end(context.Canceled) })
	started := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	defer started()
	return p.cluster.Start(living)
}

// Snapshot is how the Functions are wired now.
func (p *Plane) Snapshot() *wiring.Snapshot { return p.snapshot.Load() }

// Follow keeps the snapshot current until ctx ends, and has apply carry each out.
func (p *Plane) Follow(ctx context.Context, apply func(context.Context, *wiring.Snapshot) error) {
	p.cluster.Follow(ctx, func(ctx context.Context, s *wiring.Snapshot) error {
		p.snapshot.Store(s)
		p.Metrics.Keep(s)
		return apply(ctx, s)
	})
}

// Close gives everything up, in the opposite order.
func (p *Plane) Close() {
	for _, f := range slices.Backward(p.closers) {
		f()
	}
}

// Listen serves at the address that a flag gave.
func Listen(flag, address string, handler http.Handler) (*serve.Server, error) {
	server, err := serve.Start(address, handler)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return server, nil
}
