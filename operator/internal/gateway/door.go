package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/route"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Default limits of a request's body, in bytes.
const (
	DefaultSyncBody  = 10 << 20
	DefaultAsyncBody = 1 << 20
)

// World gives a ready instance of a function, starting one where there is none.
type World interface {
	Acquire(ctx context.Context, f names.Function) (invoke.Lease, error)
}

// Inbox stores calls, each once for its Idempotency-Key.
type Inbox interface {
	Store(ctx context.Context, m *envelope.Message) (bus.Stored, error)
	StoreOnce(ctx context.Context, k bus.Key, newID string, make func(id string) *envelope.Message) (string, error)
}

// Calls knows what became of a stored call.
type Calls interface {
	FindCall(ctx context.Context, namespace, id string) (bus.Call, error)
	CancelCall(ctx context.Context, namespace, id string) (bool, error)
	Namespaces(ctx context.Context) ([]string, error) // also those that have no Function any more
}

var (
	_ Inbox = (*bus.Bus)(nil)
	_ Calls = (*bus.Bus)(nil)
)

// Config is what the door needs; everything is required but the limits, Transport
// and Meter.
type Config struct {
	World     World
	Inbox     Inbox
	Calls     Calls
	Snapshot  func() *wiring.Snapshot // the current one
	Ready     func() error            // nil when everything is wired
	SyncBody  int64                   // bytes; default DefaultSyncBody
	AsyncBody int64                   // bytes; default DefaultAsyncBody
	Stall     time.Duration           // how long a body that is read whole may bring nothing; default serve.Stall
	Transport http.RoundTripper       // default: invoke.NewTransport
	Meter     Meter                   // default: nothing is measured
	Logger    *slog.Logger
}

// Door is the public door.
type Door struct {
	cfg   Config
	proxy proxy
}

// New is a door. It fails when the configuration is not complete.
func New(cfg Config) (*Door, error) {
	if cfg.World == nil || cfg.Inbox == nil || cfg.Calls == nil || cfg.Snapshot == nil || cfg.Ready == nil || cfg.Logger == nil {
		return nil, errors.New("gateway: the configuration is not complete")
	}
	if cfg.SyncBody <= 0 {
		cfg.SyncBody = DefaultSyncBody
	}
	if cfg.AsyncBody <= 0 {
		cfg.AsyncBody = DefaultAsyncBody
	}
	if cfg.Stall <= 0 {
		cfg.Stall = serve.Stall
	}
	if cfg.Transport == nil {
		cfg.Transport = invoke.NewTransport()
	}
	if cfg.Meter == nil {
		cfg.Meter = noMeter{}
	}
	return &Door{cfg: cfg, proxy: proxy{cfg}}, nil
}

// ServeHTTP serves one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := d.serve(w, r)
	switch {
	case err == nil:
	case gone(r, err):
		panic(http.ErrAbortHandler)
	default:
		serve.WriteProblem(w, explain(err))
	}
}

// gone reports whether a request failed because its caller went away.
func gone(r *http.Request, err error) bool {
	return errors.Is(err, context.Canceled) && r.Context().Err() != nil
}

func (d *Door) serve(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.EscapedPath()
	switch {
	case strings.HasPrefix(path, "/calls/"):
		return d.calls(w, r, strings.TrimPrefix(path, "/calls/"))
	case path == "/healthz":
		w.WriteHeader(http.StatusOK)
		return nil
	case path == "/readyz":
		if err := d.cfg.Ready(); err != nil {
			return serve.NewProblem(http.StatusServiceUnavailable, "not-ready", "%v", err)
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	snapshot := d.cfg.Snapshot()
	rt, params, ok := snapshot.Match(r.Host, r.Method, path)
	if !ok {
		if err := d.cfg.Ready(); err != nil { // the route may be on its way
			w.Header().Set("Retry-After", "1")
			return serve.NewProblem(http.StatusServiceUnavailable, "not-ready", "%v", err)
		}
		if allowed := snapshot.Allowed(r.Host, path); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return serve.NewProblem(http.StatusMethodNotAllowed, "method-not-allowed", "%s takes %s", path, strings.Join(allowed, ", "))
		}
		return serve.NewProblem(http.StatusNotFound, "no-such-route", "no function has a route for %s %s", r.Method, path)
	}
	invoke.DropOurs(r.Header)
	return d.take(w, r, rt, paramMap(params))
}

// Call takes a request to a function at once, as a route of it that is not
// asynchronous does: for a door that has its own way to say who may.
func (d *Door) Call(w http.ResponseWriter, r *http.Request, f names.Function, timeout time.Duration) error {
	_, err := d.proxy.serve(w, r, &wiring.Route{Function: f, Timeout: timeout}, nil)
	if err != nil {
		return explain(err)
	}
	return nil
}

func paramMap(params []route.Param) map[string]string {
	if len(params) == 0 {
		return nil
	}
	out := make(map[string]string, len(params))
	for _, p := range params {
		out[p.Name] = p.Value
	}
	return out
}

// explain turns what a world or the bus says into a problem.
func explain(err error) error {
	var start *invoke.StartError
	if !errors.As(err, &start) {
		return store.Explain(err)
	}
	p := serve.NewProblem(http.StatusBadGateway, "function-not-started", "function %s: %s", start.Function, start.Detail)
	if start.Reason == invoke.NeverListened {
		p.Status, p.Title = http.StatusGatewayTimeout, http.StatusText(http.StatusGatewayTimeout)
	}
	p.Lines = start.Lines
	return p
}

var store = serve.Store{Full: bus.ErrFull, TooLarge: bus.ErrTooLarge, KeyReused: bus.ErrKeyReused, Unavailable: bus.ErrUnavailable}
