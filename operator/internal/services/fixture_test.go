package services

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/identity"
	"github.com/serviceful/serviceful/operator/internal/local/mailbox"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// deadline bounds every wait of these tests.
const deadline = 2 * time.Minute

// The functions of every fixture.
var (
	writer   = names.Function{Namespace: "shop", Name: "writer"}   // may do everything
	reader   = names.Function{Namespace: "shop", Name: "reader"}   // may read the bucket
	nobody   = names.Function{Namespace: "shop", Name: "nobody"}   // may do nothing
	stranger = names.Function{Namespace: "market", Name: "writer"} // may do everything elsewhere
)

func functions() []v1alpha1.Function {
	everything := v1alpha1.FunctionSpec{
		Emits: []string{"shop.order.placed.v1", "audit.*"},
		Bindings: []v1alpha1.Binding{
			{KeyValue: &v1alpha1.KeyValueBinding{Bucket: "stock", Access: v1alpha1.AccessReadWrite}}, {Mail: &v1alpha1.MailBinding{}},
			{Objects: &v1alpha1.ObjectsBinding{Store: "files"}}, {Queue: &v1alpha1.QueueBinding{Name: "labels"}},
			{Function: &v1alpha1.FunctionBinding{Name: "reader"}}, {Function: &v1alpha1.FunctionBinding{Name: "missing"}},
		},
	}
	reads := v1alpha1.FunctionSpec{Bindings: []v1alpha1.Binding{
		{KeyValue: &v1alpha1.KeyValueBinding{Bucket: "stock", Access: v1alpha1.AccessRead}},
		{Objects: &v1alpha1.ObjectsBinding{Store: "files", Access: v1alpha1.AccessRead}},
	}}
	var out []v1alpha1.Function
	for name, spec := range map[names.Function]v1alpha1.FunctionSpec{writer: everything, reader: reads, nobody: {}, stranger: everything} {
		f := v1alpha1.Function{Spec: spec}
		f.Namespace, f.Name = name.Namespace, name.Name
		out = append(out, f)
	}
	return out
}

// fixture is a services door on a port of its own, over a real NATS server, and
// a token for each function.
type fixture struct {
	testing.TB
	nats   *bus.Embedded
	bus    *bus.Bus
	box    *mailbox.Mailbox
	tokens identity.Tokens
	token  map[names.Function]string
	url    string
}

func newFixture(tb testing.TB, change ...func(*Config)) *fixture {
	tb.Helper()
	return newFixtureOn(tb, bus.EmbeddedConfig{}, change...)
}

func newFixtureOn(tb testing.TB, cfg bus.EmbeddedConfig, change ...func(*Config)) *fixture {
	tb.Helper()
	cfg.Dir, cfg.Logger = tb.TempDir(), slog.New(slog.DiscardHandler)
	nats, err := bus.StartEmbedded(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nats.Stop)
	f := &fixture{TB: tb, nats: nats, bus: natstest.Connect(tb, nats), token: map[names.Function]string{}}
	snapshot := wiring.Compile(functions(), wiring.Hosts{Domain: "localhost", Any: true})
	if err := (bus.Layout{Bus: f.bus, Mailbox: true}).Apply(tb.Context(), snapshot); err != nil {
		tb.Fatal(err)
	}
	for name := range snapshot.Functions {
		f.token[name], _ = f.tokens.Issue(name)
	}
	f.box = &mailbox.Mailbox{Bus: f.bus, Namespaces: snapshot.Namespaces}
	f.url = f.serve(snapshot, change...)
	return f
}

// serve runs a door and is where.
func (f *fixture) serve(snapshot *wiring.Snapshot, change ...func(*Config)) string {
	f.Helper()
	c := Config{
		Identifier: &f.tokens, Events: f.bus, Buckets: f.bus, Objects: f.bus, Outbox: f.bus, Call: noCall, Mailbox: f.box, MailFrom: "shop@localhost", MaxBody: 200_000,
		Snapshot: func() *wiring.Snapshot { return snapshot },
		Ready:    func() error { return nil },
	}
	for _, change := range change {
		change(&c)
	}
	door, err := New(c)
	if err != nil {
		f.Fatal(err)
	}
	server, err := serve.Start("127.0.0.1:0", door)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { server.Stop(f.Context()) })
	return "http://" + server.Address()
}

// noCall is for tests that call no function.
func noCall(http.ResponseWriter, *http.Request, names.Function, time.Duration) error {
	return serve.NewProblem(http.StatusTeapot, "called", "")
}

// with is the fixture in a subtest.
func (f *fixture) with(tb testing.TB) *fixture {
	return &fixture{TB: tb, nats: f.nats, bus: f.bus, box: f.box, token: f.token, url: f.url}
}

// reply is an answer that was read to its end.
type reply struct {
	*http.Response
	body string
}

// send makes a call as a function: a method and a path, headers as lines, and a
// body.
func (f *fixture) send(as names.Function, request, headers, body string) reply {
	f.Helper()
	if token := f.token[as]; token != "" {
		headers = "Authorization: Bearer " + token + "\n" + headers
	}
	return f.sendAs(request, headers, body)
}

// sendAs makes a call with no headers but the given ones.
func (f *fixture) sendAs(request, headers, body string) reply {
	f.Helper()
	method, target, _ := strings.Cut(request, " ")
	req, err := http.NewRequestWithContext(f.Context(), method, f.url, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	base := req.URL
	if req.URL, err = url.ParseRequestURI(target); err != nil {
		f.Fatal(err)
	}
	req.URL.Scheme, req.URL.Host = base.Scheme, base.Host
	for line := range strings.Lines(headers) {
		key, value, _ := strings.Cut(line, ":")
		req.Header.Add(key, strings.TrimSpace(value))
	}
	resp, err := client.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatal(err)
	}
	return reply{resp, string(got)}
}

var client = &http.Client{Timeout: deadline}

// wantProblem checks that an answer is a problem of a status and kind, which
// says all of the given.
func (f *fixture) wantProblem(r reply, status int, kind string, says ...string) {
	f.Helper()
	var p serve.Problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.StatusCode != status || p.Status != status ||
		p.Type != "https://serviceful.dev/problems/"+kind || r.Header.Get("Content-Type") != "application/problem+json" {
		f.Fatalf("got %s %q %s, want a problem %d %s", r.Status, r.Header.Get("Content-Type"), r.body, status, kind)
	}
	for _, s := range says {
		if !strings.Contains(p.Detail, s) {
			f.Errorf("detail %q does not say %q", p.Detail, s)
		}
	}
}

// wantStatus checks the status of an answer, and that it has no body where none
// is due.
func (f *fixture) wantStatus(r reply, status int) {
	f.Helper()
	if r.StatusCode != status || r.body != "" && (status == 204 || status == 304) {
		f.Fatalf("got %s %s, want %d", r.Status, r.body, status)
	}
}

// stored is every message on a subject of a stream, oldest first.
func (f *fixture) stored(stream, subject string) (out []*envelope.Message) {
	f.Helper()
	err := f.bus.Scan(f.Context(), stream, subject, func(m *envelope.Message) error {
		out = append(out, m)
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return out
}

// eventually waits until done says so.
func (f *fixture) eventually(what string, done func() bool) {
	f.Helper()
	for end := time.Now().Add(deadline); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.Fatalf("not within %s: %s", deadline, what)
		}
	}
}
