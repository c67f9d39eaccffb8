package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// proxy takes a synchronous request to a ready instance.
type proxy struct {
	cfg     Config
	reverse *httputil.ReverseProxy
}

func newProxy(cfg Config) *proxy {
	p := &proxy{cfg: cfg}
	p.reverse = &httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     cfg.Transport,
		FlushInterval: -1, // what a function writes, its caller reads
		BufferPool:    buffers{},
		ErrorHandler:  p.failed,
		ErrorLog:      slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return p
}

// target is where a request goes; it travels in the request's context, the one
// way into a ReverseProxy.
type target struct {
	route   *wiring.Route
	address string
	timer   *time.Timer
}

type targetKey struct{}

func targetOf(r *http.Request) *target { return r.Context().Value(targetKey{}).(*target) }

// serve proxies one request. The function's timeout runs from the ready
// instance to the beginning of the answer: a stream may go on for longer.
func (p *proxy) serve(w http.ResponseWriter, r *http.Request, rt *wiring.Route, params map[string]string) error {
	if r.ContentLength > p.cfg.SyncBody {
		return serve.TooLarge(p.cfg.SyncBody)
	}
	lease, err := p.cfg.World.Acquire(r.Context(), rt.Function)
	if err != nil {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // the caller is gone
		}
		return err
	}
	defer lease.Release()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	t := &target{route: rt, address: lease.Address}
	t.timer = time.AfterFunc(rt.Timeout, func() { cancel(errTimeout) })
	defer t.timer.Stop()
	if r.ContentLength != 0 && r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, p.cfg.SyncBody)
	}
	invoke.SetParams(r.Header, rt.Trigger, params)
	if r.Header.Get("Traceparent") == "" {
		r.Header.Set("Traceparent", newTraceparent())
	}
	p.reverse.ServeHTTP(started{w, t.timer}, r.WithContext(context.WithValue(ctx, targetKey{}, t)))
	return nil
}

var errTimeout = errors.New("the function did not begin to answer within its timeout")

func rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL.Scheme = "http"
	pr.Out.URL.Host = targetOf(pr.In).address
	pr.Out.Host = pr.In.Host
	pr.Out.Header["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
	pr.SetXForwarded()
}

// failed answers a request whose function did not.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	rt := targetOf(r).route
	var tooLarge *http.MaxBytesError
	var problem *serve.Problem
	switch {
	case errors.As(err, &tooLarge):
		problem = serve.TooLarge(p.cfg.SyncBody)
	case errors.Is(context.Cause(r.Context()), errTimeout):
		problem = serve.NewProblem(http.StatusGatewayTimeout, "function-timeout", "function %s did not begin to answer within %s", rt.Function, rt.Timeout)
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the caller is gone
	default:
		problem = serve.NewProblem(http.StatusBadGateway, "function-broke-off", "function %s did not answer: %v", rt.Function, err)
	}
	p.cfg.Logger.Debug("proxying a request", "function", rt.Function.String(), "trigger", rt.Trigger, "error", err)
	serve.WriteProblem(w, problem)
}

// started stops the timeout when the answer begins.
type started struct {
	http.ResponseWriter
	timer *time.Timer
}

func (s started) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		s.timer.Stop()
	}
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController what lies below.
func (s started) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// newTraceparent begins a trace (W3C Trace Context, version 00, not sampled).
func newTraceparent() string {
	return fmt.Sprintf("00-%016x%016x-%016x-00", rand.Uint64(), rand.Uint64()|1, rand.Uint64()|1)
}

// buffers lends the proxy its copy buffers.
type buffers struct{}

const bufferSize = 32 << 10

var bufferPool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[bufferSize]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[bufferSize]byte)(b)) }
