package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// proxy takes a synchronous request to a ready instance.
//
// Connections that change their protocol are left to httputil.ReverseProxy. All
// other requests take a loop of its own that copies no headers and starts no
// timer for flushing: it costs about half as much (hack/bench, sync).
type proxy struct{ cfg Config }

// serve proxies one request and returns the status of its answer. The function's
// timeout runs from the ready instance to the beginning of the answer: a stream
// may go on for longer.
func (p proxy) serve(w http.ResponseWriter, r *http.Request, rt *wiring.Route, params map[string]string) (status int, err error) {
	if r.ContentLength > p.cfg.SyncBody {
		return 0, serve.TooLarge(p.cfg.SyncBody)
	}
	streamed := r.ContentLength != 0
	if small(r, p.cfg.SyncBody) {
		if err := hold(w, r, p.cfg.SyncBody, p.cfg.Stall); err != nil {
			return 0, err
		}
		streamed = false
	}
	lease, err := p.cfg.World.Acquire(r.Context(), rt.Function)
	if err != nil {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // the caller is gone
		}
		return 0, err
	}
	defer lease.Release()
	protocol := upgradeOf(r.Header)
	removeConnectionHeaders(r.Header) // first: a caller must not name ours among them
	prepare(r, rt, params)
	maps.Copy(r.Header, lease.Header)
	if protocol != nil {
		r.Header["Connection"], r.Header["Upgrade"] = []string{"Upgrade"}, protocol
	}
	var up *upload
	if streamed {
		up = stream(w, r, p.cfg.SyncBody)
		defer up.end() // an answer that broke off waits for nothing
	}
	status, err = p.call(w, r, lease, up, rt)
	up.leave(p.cfg.Stall)
	return status, err
}

// call makes the call and passes the answer on.
func (p proxy) call(w http.ResponseWriter, r *http.Request, lease invoke.Lease, up *upload, rt *wiring.Route) (status int, err error) {
	ctx, bound := lease.Bound(r.Context(), rt.Timeout)
	defer bound.End()
	defer context.AfterFunc(ctx, up.breakOff)()
	begins := func(status int) {
		bound.Stop()
		if status != http.StatusSwitchingProtocols {
			up.answered()
		}
	}
	if r.Header["Upgrade"] != nil {
		return p.upgrade(w, r.WithContext(ctx), lease.Address, up, begins, rt)
	}
	i := &interim{w: w}
	resp, err := p.cfg.Transport.RoundTrip(outgoing(i.trace(ctx), r, lease.Address))
	i.end()
	if err != nil {
		begins(0)
		return 0, p.explain(ctx, r, up, rt, err)
	}
	defer resp.Body.Close()
	begins(resp.StatusCode)
	answer(w, resp)
	return resp.StatusCode, nil
}

// upgradeOf is the protocol that a request wants its connection changed to, or
// nil.
func upgradeOf(h http.Header) []string {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(textproto.TrimString(name), "Upgrade") {
				return h["Upgrade"]
			}
		}
	}
	return nil
}

// prepare makes a request's headers what the function is to see. They are the
// server's no longer.
func prepare(r *http.Request, rt *wiring.Route, params map[string]string) {
	invoke.SetParams(r.Header, rt.Trigger, params)
	introduce(r)
}

// introduce adds where a request comes from.
func introduce(r *http.Request) {
	setDefault(r.Header, "Traceparent", newTraceparent())
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		if prior := r.Header["X-Forwarded-For"]; len(prior) > 0 {
			ip = strings.Join(prior, ", ") + ", " + ip
		}
		r.Header["X-Forwarded-For"] = []string{ip}
	}
	setDefault(r.Header, "X-Forwarded-Host", r.Host)
	setDefault(r.Header, "X-Forwarded-Proto", "http")
}

func setDefault(h http.Header, key, value string) {
	if h[key] == nil {
		h[key] = []string{value}
	}
}

// outgoing is the request to the function: the caller's own, with another
// address.
func outgoing(ctx context.Context, r *http.Request, address string) *http.Request {
	out := &http.Request{
		Method: r.Method, URL: target(r, address), Host: r.Host, Header: r.Header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody, ContentLength: r.ContentLength, Trailer: r.Trailer,
	}
	if r.ContentLength != 0 {
		out.Body, out.GetBody = r.Body, r.GetBody
	}
	return out.WithContext(ctx)
}

func target(r *http.Request, address string) *url.URL {
	u := *r.URL
	u.Scheme, u.Host = "http", address
	return &u
}

// interim passes interim answers (RFC 9110, 15.2) on, until there is an answer
// or none will come: a transport that gave up may go on reading for a while.
type interim struct {
	w    http.ResponseWriter
	mu   sync.Mutex
	over bool
}

func (i *interim) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
}

func (i *interim) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.over || status == http.StatusContinue { // the server says that one itself, to who waits for it
			return nil
		}
		maps.Copy(i.w.Header(), http.Header(h))
		i.w.WriteHeader(status)
		clear(i.w.Header())
		return nil
	}})
}

// answer passes the function's answer on, untouched and unbuffered. One that
// breaks off breaks the caller's connection, or the caller would take a part for
// the whole.
func answer(w http.ResponseWriter, resp *http.Response) {
	removeConnectionHeaders(resp.Header)
	h := w.Header()
	maps.Copy(h, resp.Header)
	keepContentType(h, resp.Header)
	for key := range resp.Trailer {
		h.Add("Trailer", key)
	}
	w.WriteHeader(resp.StatusCode)
	if err := copyBody(w, resp); err != nil {
		panic(http.ErrAbortHandler)
	}
	for key, values := range resp.Trailer {
		h[http.TrailerPrefix+key] = values
	}
}

// keepContentType keeps net/http from guessing a type that the function did not
// give: the header is present, and has no value.
func keepContentType(h, answered http.Header) {
	if answered["Content-Type"] == nil {
		h["Content-Type"] = nil
	}
}

// copyBody writes what the function writes, when it writes it: only the end of
// an answer of known length waits for nothing.
func copyBody(w http.ResponseWriter, resp *http.Response) error {
	flusher := http.NewResponseController(w)
	if resp.ContentLength < 0 {
		_ = flusher.Flush() // the head, before the first byte is there
	}
	buf := bufferPool.Get().(*[bufferSize]byte)
	defer bufferPool.Put(buf)
	for sent := int64(0); ; {
		n, err := resp.Body.Read(buf[:])
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if sent += int64(n); sent != resp.ContentLength {
				_ = flusher.Flush()
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

const bufferSize = 32 << 10

var bufferPool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// upgrade proxies a request that wants to change its connection's protocol.
func (p proxy) upgrade(w http.ResponseWriter, r *http.Request, address string, up *upload, begins func(status int), rt *wiring.Route) (status int, err error) {
	reverse := httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL, pr.Out.Host = target(pr.In, address), pr.In.Host
			for _, key := range [...]string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"} {
				if v := pr.In.Header[key]; v != nil {
					pr.Out.Header[key] = v
				}
			}
		},
		Transport:     p.cfg.Transport,
		FlushInterval: -1,
		ModifyResponse: func(resp *http.Response) error {
			status = resp.StatusCode
			begins(status)
			keepContentType(w.Header(), resp.Header)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, e error) {
			begins(0)
			err = p.explain(r.Context(), r, up, rt, e)
		},
		ErrorLog: slog.NewLogLogger(p.cfg.Logger.Handler(), slog.LevelDebug),
	}
	reverse.ServeHTTP(w, r)
	return status, err
}

// explain says why a function did not answer.
func (p proxy) explain(ctx context.Context, r *http.Request, up *upload, rt *wiring.Route, err error) error {
	p.cfg.Logger.Debug("proxying a request", "function", rt.Function.String(), "trigger", rt.Trigger, "error", err)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return serve.TooLarge(p.cfg.SyncBody)
	case up.broken() != nil:
		return serve.UnreadableBody(up.broken())
	case errors.Is(context.Cause(ctx), invoke.ErrNotStarted):
		return serve.NewProblem(http.StatusGatewayTimeout, "function-not-started", "function %s: %v", rt.Function, invoke.ErrNotStarted)
	case errors.Is(context.Cause(ctx), invoke.ErrTimeout):
		return serve.NewProblem(http.StatusGatewayTimeout, "function-timeout", "function %s did not begin to answer within %s", rt.Function, rt.Timeout)
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the caller is gone
	}
	return serve.NewProblem(http.StatusBadGateway, "function-broke-off", "function %s did not answer: %v", rt.Function, err)
}

// removeConnectionHeaders drops the headers that are about one connection and
// not the message (RFC 9110, 7.6.1).
func removeConnectionHeaders(h http.Header) {
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			h.Del(textproto.TrimString(name))
		}
	}
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// newTraceparent begins a trace (W3C Trace Context, version 00, not sampled).
func newTraceparent() string {
	return fmt.Sprintf("00-%016x%016x-%016x-00", rand.Uint64(), rand.Uint64()|1, rand.Uint64()|1)
}
