package graph

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/manifest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

var update = flag.Bool("update", false, "write the golden files anew")

// reference is the project's own functions, as `serviceful graph` reads them.
func reference(t *testing.T) []v1alpha1.Function {
	t.Helper()
	v, err := manifest.NewValidator()
	if err != nil {
		t.Fatal(err)
	}
	manifests, problems := v.Load("../../../functions")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var out []v1alpha1.Function
	for _, m := range manifests {
		out = append(out, m.Function)
	}
	return out
}

// newFunction is "<namespace>/<name>" with what it emits and is triggered by.
func newFunction(id string, emits []string, triggers ...v1alpha1.Trigger) v1alpha1.Function {
	f := v1alpha1.Function{Spec: v1alpha1.FunctionSpec{Emits: emits, Triggers: triggers}}
	f.Namespace, f.Name, _ = strings.Cut(id, "/")
	return f
}

func onEvent(name string, types ...string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Event: &v1alpha1.EventSource{Types: types}}
}

func onHTTP(name, path string, async bool, methods ...string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, HTTP: &v1alpha1.HTTPSource{Path: path, Async: async, Methods: methods}}
}

// twoNamespaces are functions of equal names, types and buckets in two
// namespaces.
func twoNamespaces() []v1alpha1.Function {
	var out []v1alpha1.Function
	for _, namespace := range []string{"shop", "market"} {
		orders := newFunction(namespace+"/orders", []string{"order.placed.v1"},
			onHTTP("place", "/"+namespace+"/orders", true, "POST"), onHTTP("any", "/"+namespace+"/{rest...}", false))
		orders.Spec.Bindings = []v1alpha1.Binding{{KeyValue: &v1alpha1.KeyValueBinding{Bucket: "orders", Access: v1alpha1.AccessReadWrite}}}
		stock := newFunction(namespace+"/stock", []string{"stock.*"}, onEvent("placed", "order.placed.v1"))
		stock.Spec.Bindings = []v1alpha1.Binding{{KeyValue: &v1alpha1.KeyValueBinding{Bucket: "orders", Access: v1alpha1.AccessRead}}, {Mail: &v1alpha1.MailBinding{}},
			{Objects: &v1alpha1.ObjectsBinding{Store: "files"}}, {Queue: &v1alpha1.QueueBinding{Name: "labels"}}, {Function: &v1alpha1.FunctionBinding{Name: "orders"}}}
		stock.Spec.Triggers = append(stock.Spec.Triggers,
			v1alpha1.Trigger{Name: "changed", KeyValue: &v1alpha1.KeyValueSource{Bucket: "orders", Keys: "a.>"}},
			v1alpha1.Trigger{Name: "import", Object: &v1alpha1.ObjectSource{Store: "incoming"}})
		place := &orders.Spec.Triggers[0]
		place.Delivery = &v1alpha1.Delivery{OnSuccess: &v1alpha1.Destination{EventType: "order.done.v1"}, OnFailure: &v1alpha1.Destination{Queue: "labels"}}
		placed := &stock.Spec.Triggers[0]
		placed.Delivery = &v1alpha1.Delivery{OnFailure: &v1alpha1.Destination{EventType: "order.placed.v1"}}
		out = append(out, orders, stock)
	}
	return out
}

func compile(functions []v1alpha1.Function) []Edge {
	return Edges(wiring.Compile(functions, wiring.Hosts{Domain: "localhost", Any: true}))
}

// TestGolden compares the drawings with those under testdata; -update writes
// them anew.
func TestGolden(t *testing.T) {
	for name, functions := range map[string][]v1alpha1.Function{"reference": reference(t), "namespaces": twoNamespaces(), "nothing": nil} {
		for format, draw := range map[string]func(io.Writer, []Edge) error{"mmd": Mermaid, "dot": DOT} {
			file := filepath.Join("testdata", name+"."+format)
			t.Run(file, func(t *testing.T) {
				var want []byte
				for range 20 { // in any order they are one graph
					rand.Shuffle(len(functions), func(i, j int) { functions[i], functions[j] = functions[j], functions[i] })
					var got bytes.Buffer
					if err := draw(&got, compile(functions)); err != nil {
						t.Fatal(err)
					}
					if *update {
						if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
							t.Fatal(err)
						}
					}
					if want == nil {
						var err error
						if want, err = os.ReadFile(file); err != nil {
							t.Fatal(err)
						}
					}
					if !bytes.Equal(got.Bytes(), want) {
						t.Fatalf("got\n%s\nwant\n%s", &got, want)
					}
				}
			})
		}
	}
}

// TestEvents checks between whom events go.
func TestEvents(t *testing.T) {
	tests := map[string]struct {
		emits, listens []string
		want           []string // from emitter to type, and from type to listener
	}{
		"one type":                {[]string{"a.b"}, []string{"a.b"}, []string{"out -> a.b", "a.b -> in"}},
		"nobody listens":          {[]string{"a.b"}, []string{"a.c"}, []string{"out -> a.b", "a.c -> in"}},
		"listens to a pattern":    {[]string{"a.b", "a.c"}, []string{"a.*"}, []string{"out -> a.* (a.b)", "out -> a.* (a.c)", "a.* -> in"}},
		"emits a pattern":         {[]string{"a.*"}, []string{"a.b", "a.c"}, []string{"out -> a.b (a.*)", "out -> a.c (a.*)", "a.b -> in", "a.c -> in"}},
		"pattern to pattern":      {[]string{"a.b.*"}, []string{"a.*"}, []string{"out -> a.* (a.b.*)", "a.* -> in"}},
		"wider to narrower":       {[]string{"*"}, []string{"a.*"}, []string{"out -> a.* (*)", "a.* -> in"}},
		"patterns that are apart": {[]string{"a.*"}, []string{"ab.*"}, []string{"out -> a.*", "ab.* -> in"}},
		"nothing":                 {nil, nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var triggers []v1alpha1.Trigger
			if len(test.listens) > 0 {
				triggers = append(triggers, onEvent("on", test.listens...))
			}
			functions := []v1alpha1.Function{newFunction("shop/out", test.emits), newFunction("shop/in", nil, triggers...)}
			var got []string
			for _, e := range compile(functions) {
				s := e.From.Name + " -> " + e.To.Name
				if e.Label != "" && e.From.Kind == Function {
					s += " (" + e.Label + ")"
				}
				if got = append(got, s); !e.Dashed {
					t.Errorf("%s is not asynchronous", s)
				}
			}
			slices.Sort(got)
			slices.Sort(test.want)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestSharedType checks that a type with several listeners is drawn once for
// each.
func TestSharedType(t *testing.T) {
	functions := []v1alpha1.Function{
		newFunction("shop/out", []string{"a", "a"}), newFunction("shop/x", nil, onEvent("on", "a")), newFunction("shop/y", nil, onEvent("on", "a")),
	}
	if edges := compile(functions); len(edges) != 3 {
		t.Errorf("got %v, want out -> a, a -> x, a -> y", edges)
	}
}

// TestRouteThatLost checks that a route which an older one has is not drawn.
func TestRouteThatLost(t *testing.T) {
	functions := []v1alpha1.Function{
		newFunction("shop/a", nil, onHTTP("x", "/x", false, "GET")), newFunction("shop/b", nil, onHTTP("x", "/x", false, "GET"), onHTTP("y", "/y", false)),
	}
	edges := compile(functions)
	if len(edges) != 2 || edges[0].To.Name != "a" || edges[0].Label != "GET /x" || edges[1].To.Name != "b" || edges[1].Label != "ANY /y" {
		t.Errorf("got %v", edges)
	}
}

func TestWriteError(t *testing.T) {
	for _, draw := range []func(io.Writer, []Edge) error{Mermaid, DOT} {
		if err := draw(fullDisk{}, compile(twoNamespaces())); !errors.Is(err, errFull) {
			t.Errorf("got %v", err)
		}
	}
}

var errFull = errors.New("no space left")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

// TestQueue leads from who sends to a queue to who has it.
func TestQueue(t *testing.T) {
	sender := newFunction("shop/sender", nil)
	sender.Spec.Bindings = []v1alpha1.Binding{{Queue: &v1alpha1.QueueBinding{Name: "labels"}}}
	taker := newFunction("shop/taker", nil, v1alpha1.Trigger{Name: "jobs", Queue: &v1alpha1.QueueSource{Name: "labels"}})
	queue := Node{Queue, "shop", "labels"}
	want := []Edge{{Node{Function, "shop", "sender"}, queue, "", true}, {queue, Node{Function, "shop", "taker"}, "jobs", true}}
	got := Edges(wiring.Compile([]v1alpha1.Function{sender, taker}, wiring.Hosts{}))
	for _, e := range want {
		if !slices.Contains(got, e) {
			t.Errorf("there is no edge %+v in %+v", e, got)
		}
	}
}
