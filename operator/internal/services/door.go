package services

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/route"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Identifier says which function a bearer token belongs to, if it belongs to one. It
// fails when that cannot be said now.
type Identifier interface {
	Identify(token string) (f names.Function, ok bool, err error)
}

// EventLog stores events; all or none.
type EventLog interface {
	PublishEvents(ctx context.Context, namespace string, events []*event.Event) error
}

// Buckets reads and changes keys.
type Buckets interface {
	Get(ctx context.Context, k bus.KeyRef) (bus.Entry, error)
	Put(ctx context.Context, k bus.KeyRef, value []byte, w bus.Write, ttl time.Duration) (uint64, error)
	DeleteKey(ctx context.Context, k bus.KeyRef, w bus.Write) error
	Keys(ctx context.Context, namespace, bucket, prefix string, limit int, after uint64) ([]string, uint64, error)
}

// Objects reads and changes objects.
type Objects interface {
	Object(ctx context.Context, r bus.ObjectRef) (bus.Object, error)
	ReadObject(ctx context.Context, o bus.Object, from, length int64, w io.Writer) error
	PutObject(ctx context.Context, r bus.ObjectRef, u bus.Upload, w bus.Write) (bus.Object, error)
	DeleteObject(ctx context.Context, r bus.ObjectRef, w bus.Write) error
	Objects(ctx context.Context, namespace, store, prefix string, limit int, after uint64) ([]bus.Object, uint64, error)
}

// Outbox stores mails and messages of queues, each once for its Idempotency-Key.
type Outbox interface {
	Store(ctx context.Context, m *envelope.Message) (bus.Stored, error)
	StoreOnce(ctx context.Context, k bus.Key, newID string, make func(id string) *envelope.Message) (string, error)
}

var (
	_ EventLog = (*bus.Bus)(nil)
	_ Buckets  = (*bus.Bus)(nil)
	_ Objects  = (*bus.Bus)(nil)
	_ Outbox   = (*bus.Bus)(nil)
)

// Call takes a request to a function at once and answers with what it answers,
// within the timeout of a call of it. What it returns is answered as a problem;
// it panics with http.ErrAbortHandler when the answer breaks off.
type Call func(w http.ResponseWriter, r *http.Request, f names.Function, timeout time.Duration) error

// Config is what the door needs; all but Mailbox is required.
type Config struct {
	Identifier Identifier
	Events     EventLog
	Buckets    Buckets
	Objects    Objects
	Outbox     Outbox
	Call       Call
	Snapshot   func() *wiring.Snapshot // the current one
	MaxBody    int64                   // of events and values, in bytes
	MailFrom   string                  // who every mail is from
	Ready      func() error            // nil when everything is wired
	Mailbox    http.Handler            // GET /v1/mail; nil: there is none
}

// Door is the services door.
type Door struct {
	cfg    Config
	routes *route.Table[handler]
	open   *route.Table[http.HandlerFunc] // without a token
}

// handler serves a call of a known function. What it returns is answered as a
// problem.
type handler func(w http.ResponseWriter, r *http.Request, c caller) error

// caller is who calls, and the path's parameters, decoded.
type caller struct {
	*wiring.Function
	params map[string]string
}

// New is a door. It fails when the configuration is not complete.
func New(cfg Config) (*Door, error) {
	if cfg.Identifier == nil || cfg.Events == nil || cfg.Buckets == nil || cfg.Objects == nil || cfg.Outbox == nil || cfg.Call == nil || cfg.Snapshot == nil || cfg.Ready == nil || cfg.MaxBody <= 0 {
		return nil, errors.New("services: the configuration is not complete")
	}
	d := &Door{cfg: cfg}
	d.routes = table(map[string]handler{
		" /v1/functions/{name}/{path...}":             d.callFunction,
		"POST /v1/events":                             d.publish,
		"GET /v1/buckets/{bucket}/keys/{key...}":      d.getKey,
		"PUT /v1/buckets/{bucket}/keys/{key...}":      d.putKey,
		"DELETE /v1/buckets/{bucket}/keys/{key...}":   d.deleteKey,
		"GET /v1/buckets/{bucket}/keys":               d.listKeys,
		"GET /v1/stores/{store}/objects/{name...}":    d.getObject,
		"PUT /v1/stores/{store}/objects/{name...}":    d.putObject,
		"DELETE /v1/stores/{store}/objects/{name...}": d.deleteObject,
		"GET /v1/stores/{store}/objects":              d.listObjects,
		"POST /v1/queues/{queue}/messages":            d.enqueue,
		"POST /v1/mail":                               d.sendMail,
	})
	open := map[string]http.HandlerFunc{
		"GET /healthz": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) },
		"GET /readyz":  d.ready,
	}
	if cfg.Mailbox != nil {
		open["GET /v1/mail"] = cfg.Mailbox.ServeHTTP
	}
	d.open = table(open)
	return d, nil
}

// table is a table of patterns that are known to be good and apart.
func table[T any](patterns map[string]T) *route.Table[T] {
	var b route.Builder[T]
	for pattern, value := range patterns {
		method, path, _ := strings.Cut(pattern, " ")
		p, err := route.Parse(method, path)
		if err != nil {
			panic(err)
		}
		if _, ok := b.Add(p, value); !ok {
			panic("services: two routes for " + pattern)
		}
	}
	return b.Table()
}

// ServeHTTP serves one call.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if h, _, ok := d.open.Match(r.Method, path); ok {
		h(w, r)
		return
	}
	if err := d.serve(w, r, path); err != nil {
		serve.WriteProblem(w, store.Explain(err))
	}
}

func (d *Door) serve(w http.ResponseWriter, r *http.Request, path string) error {
	f, err := d.identify(w, r)
	if err != nil {
		return err
	}
	h, params, ok := d.routes.Match(r.Method, path)
	if !ok {
		if allowed := d.routes.Allowed(path); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return serve.NewProblem(http.StatusMethodNotAllowed, "method-not-allowed", "%s takes %s", r.URL.Path, strings.Join(allowed, ", "))
		}
		return serve.NewProblem(http.StatusNotFound, "no-such-service", "there is no service at %s", r.URL.Path)
	}
	c := caller{Function: f}
	if len(params) > 0 {
		c.params = make(map[string]string, len(params))
	}
	for _, p := range params {
		value, err := url.PathUnescape(p.Value)
		if err != nil {
			return serve.NewProblem(http.StatusBadRequest, "malformed-path", "%v", err)
		}
		c.params[p.Name] = value
	}
	if _, calls := c.params["path"]; !calls {
		if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
			return serve.NewProblem(http.StatusUnsupportedMediaType, "content-encoding",
				"the body is encoded as %s, which is not kept: send it as it is, or give it the media type of what it is", coding)
		}
		r = r.WithContext(context.WithoutCancel(r.Context())) // what has begun is not cut in half when the function is killed
	}
	return h(w, r, c)
}

// identify is the function that calls. A function that was removed a moment ago
// may still hold a token; it is a stranger by then.
func (d *Door) identify(w http.ResponseWriter, r *http.Request) (*wiring.Function, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		name, ok, err := d.cfg.Identifier.Identify(strings.TrimSpace(token))
		if err != nil {
			return nil, serve.NewProblem(http.StatusServiceUnavailable, "identity-unavailable", "whose token this is cannot be said now: nothing was done; try again")
		}
		if ok {
			if f := d.cfg.Snapshot().Functions[name]; f != nil {
				return f, nil
			}
		}
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	return nil, serve.NewProblem(http.StatusUnauthorized, "unauthenticated",
		"send the content of $SERVICEFUL_TOKEN_FILE as a bearer token: Authorization: Bearer <token>")
}

func (d *Door) ready(w http.ResponseWriter, _ *http.Request) {
	if err := d.cfg.Ready(); err != nil {
		serve.WriteProblem(w, serve.NewProblem(http.StatusServiceUnavailable, "not-ready", "%v", err))
		return
	}
	w.WriteHeader(http.StatusOK)
}

var store = serve.Store{Full: bus.ErrFull, TooLarge: bus.ErrTooLarge, KeyReused: bus.ErrKeyReused, Unavailable: bus.ErrUnavailable}
