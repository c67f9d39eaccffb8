package wiring

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

func TestClaims(t *testing.T) {
	type functions = []v1alpha1.Function
	tests := map[string]struct {
		functions functions
		answers   map[string]string // who answers "GET host/path"
		problems  []string          // the beginning and the end of each
	}{
		"one route, two functions": {
			functions{fn("coop/new", 1, syncHTTP("a", "GET /x")), fn("coop/old", 2, syncHTTP("b", "GET /x"))},
			map[string]string{"GET coop.test/x": "coop/old b", "POST coop.test/x": ""},
			[]string{`function coop/new, trigger a: GET /x on host "coop.test" is taken by trigger "b" of function coop/old (/x), which came first`},
		},
		"of equal age, by name": {
			functions{fn("coop/b", 1, syncHTTP("t", "/x/{y}")), fn("coop/a", 1, syncHTTP("t", "/x/{z}"))},
			map[string]string{"GET coop.test/x/1": "coop/a t"},
			[]string{`function coop/b, trigger t: any method /x/{y} on host "coop.test" is taken by trigger "t" of function coop/a (/x/{z}), which came first`},
		},
		"neither is more specific": {
			functions{fn("coop/new", 1, syncHTTP("t", "GET /{x}/b")), fn("coop/old", 2, syncHTTP("t", "GET /a/{y}"))},
			map[string]string{"GET coop.test/a/b": "coop/old t", "GET coop.test/z/b": ""},
			[]string{`function coop/new, trigger t: GET /{x}/b on host "coop.test" is taken by trigger "t" of function coop/old (/a/{y}), which came first`},
		},
		"one is more specific": {
			functions{fn("coop/new", 1, syncHTTP("t", "GET /a/b"), syncHTTP("u", "GET /{rest...}")), fn("coop/old", 2, syncHTTP("t", "GET /a/{y}"))},
			map[string]string{"GET coop.test/a/b": "coop/new t", "GET coop.test/a/c": "coop/old t", "GET coop.test/": "coop/new u"},
			nil,
		},
		"other methods": {
			functions{fn("coop/new", 1, syncHTTP("t", "POST /a")), fn("coop/old", 2, syncHTTP("t", "GET /a"))},
			map[string]string{"GET coop.test/a": "coop/old t", "HEAD coop.test/a": "coop/old t", "POST coop.test/a": "coop/new t", "PUT coop.test/a": ""},
			nil,
		},
		"one of two methods": {
			functions{fn("coop/new", 1, syncHTTP("t", "GET,POST /a")), fn("coop/old", 2, syncHTTP("t", "GET /a"))},
			map[string]string{"GET coop.test/a": "coop/old t", "POST coop.test/a": "coop/new t"},
			[]string{`function coop/new, trigger t: GET /a on host "coop.test" is taken by trigger "t" of function coop/old (/a), which came first`},
		},
		"within one function": {
			functions{fn("coop/a", 1, syncHTTP("t", "GET /a"), syncHTTP("u", "GET /a"), syncHTTP("v", "GET /b"))},
			map[string]string{"GET coop.test/a": "coop/a t", "GET coop.test/b": "coop/a v"},
			[]string{`function coop/a, trigger u: GET /a on host "coop.test" is taken by trigger "t" of the same function (/a)`},
		},
		"another namespace's own host": {
			functions{fn("coop/a", 1, syncHTTP("t", "GET /a", "shop.test")), fn("shop/a", 2, syncHTTP("t", "GET /b"))},
			map[string]string{"GET shop.test/a": "", "GET shop.test/b": "shop/a t"},
			[]string{`function coop/a, trigger t: host "shop.test" belongs to namespace "shop"`},
		},
		"two namespaces": {
			functions{fn("coop/a", 1, syncHTTP("t", "GET /a")), fn("shop/a", 2, syncHTTP("t", "GET /a"))},
			map[string]string{"GET coop.test/a": "coop/a t", "GET shop.test/a": "shop/a t", "GET other.test/a": ""},
			nil,
		},
		"a host of another namespace": {
			functions{fn("coop/a", 1, syncHTTP("t", "GET /a", "www.test", "coop.test")), fn("shop/a", 2, syncHTTP("t", "GET /b", "www.test"))},
			map[string]string{"GET www.test/a": "", "GET www.test/b": "shop/a t", "GET coop.test/a": "coop/a t"},
			[]string{`function coop/a, trigger t: host "www.test" belongs to namespace "shop"`},
		},
		"a path that is none": {
			functions{fn("coop/a", 1, syncHTTP("t", "GET a"), asyncHTTP("v", "GET /{x}/{x}"), syncHTTP("u", "GET /b"))},
			map[string]string{"GET coop.test/b": "coop/a u"},
			[]string{`function coop/a, trigger t: its path "a": `, `function coop/a, trigger v: its path "/{x}/{x}": `},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := Compile(test.functions, Hosts{Domain: "test"})
			for request, want := range test.answers {
				if got := answer(s, request); got != want {
					t.Errorf("%s is answered by %q, want %q", request, got, want)
				}
			}
			if len(s.Problems) != len(test.problems) {
				t.Fatalf("got the problems %v, want %q", s.Problems, test.problems)
			}
			for i, want := range test.problems {
				if got := s.Problems[i].String(); !strings.HasPrefix(got, want) {
					t.Errorf("got the problem %q, want %q", got, want)
				}
			}
		})
	}
}

// TestLoserKeepsItsCalls has an async trigger that lost its route: the calls that
// it had accepted are made.
func TestLoserKeepsItsCalls(t *testing.T) {
	s := Compile([]v1alpha1.Function{
		fn("coop/new", 1, asyncHTTP("a", "POST /x"), asyncHTTP("b", "POST /y")), fn("coop/old", 2, syncHTTP("t", "POST /x")),
	}, laptop)
	var keys []string
	for _, sub := range s.Subscriptions {
		keys = append(keys, sub.Key())
	}
	if !slices.Equal(keys, []string{"WORK_coop/mail", "WORK_coop/new_a", "WORK_coop/new_b"}) || len(s.Routes()) != 2 {
		t.Errorf("got the subscriptions %v and routes %v", s.Subscriptions, s.Routes())
	}
}

func TestHosts(t *testing.T) {
	functions := []v1alpha1.Function{
		fn("coop/a", 3, syncHTTP("t", "GET /a"), syncHTTP("w", "GET /w", "www.Shop.example")), fn("shop/b", 2, syncHTTP("t", "GET /a"), syncHTTP("u", "GET /b")), fn("bare/c", 1),
	}
	hosts := Hosts{Domain: "test", Namespace: map[string]string{"shop": "Shop.Example"}}
	tests := map[string]struct {
		host    string
		any     bool
		a, b, w string // who answers /a, /b and /w
		owner   string // "*": everyone
	}{
		"by its namespace":      {"coop.test", false, "coop/a t", "", "", "coop"},
		"with a port":           {"coop.test:8080", false, "coop/a t", "", "", "coop"},
		"in upper case":         {"COOP.Test", false, "coop/a t", "", "", "coop"},
		"by its annotation":     {"shop.example", false, "shop/b t", "shop/b u", "", "shop"},
		"annotated, no default": {"shop.test", false, "", "", "", ""},
		"its own":               {"www.shop.example", false, "", "", "coop/a w", "coop"},
		"nobody's":              {"localhost:8080", false, "", "", "", ""},
		"none":                  {"", false, "", "", "", ""},
		"nobody's, on a laptop": {"localhost:8080", true, "coop/a t", "shop/b u", "coop/a w", "*"},
		"address, on a laptop":  {"[::1]:8080", true, "coop/a t", "shop/b u", "coop/a w", "*"},
		"its own, on a laptop":  {"shop.example", true, "shop/b t", "shop/b u", "", "shop"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hosts.Any = test.any
			s := Compile(functions, hosts)
			for path, want := range map[string]string{"/a": test.a, "/b": test.b, "/w": test.w} {
				if got := answer(s, "GET "+test.host+path); got != want {
					t.Errorf("%s is answered by %q, want %q", path, got, want)
				}
				if got := s.Allowed(test.host, path); (len(got) > 0) != (want != "") {
					t.Errorf("%s allows %v", path, got)
				}
			}
			got, everyone := s.OwnerOf(test.host)
			if everyone {
				got += "*"
			}
			if got != test.owner {
				t.Errorf("it is %q's, want %q", got, test.owner)
			}
			if len(s.Problems) > 0 {
				t.Errorf("got the problems %v", s.Problems)
			}
		})
	}
}

func TestRoute(t *testing.T) {
	f := fn("coop/a", 1, asyncHTTP("t", "POST /members/{number}/x"))
	f.Spec.Timeout = &metav1.Duration{Duration: 7 * time.Second}
	s := Compile([]v1alpha1.Function{f}, laptop)
	r, params, ok := s.Match("localhost", "POST", "/members/a%2Fb/x")
	if !ok || !r.Async || r.Timeout != 7*time.Second || r.Path != "/members/{number}/x" || fmt.Sprint(params) != "[{number a%2Fb}]" {
		t.Errorf("got %+v, %v, %v", r, params, ok)
	}
	if got := s.Allowed("localhost", "/members/1/x"); !slices.Equal(got, []string{"POST"}) {
		t.Errorf("allowed: %v", got)
	}
	if got := slices.Sorted(maps.Keys(s.Namespaces())); !slices.Equal(got, []string{"coop"}) {
		t.Errorf("namespaces: %v", got)
	}
}

// TestOrderDoesNotMatter compiles random Functions, which get into each other's
// way, in random orders.
func TestOrderDoesNotMatter(t *testing.T) {
	var requests []string
	for _, host := range []string{"a.test", "b.test", "www.test", "localhost"} {
		for _, path := range []string{"/x", "/y", "/x/y", "/z/y", "/x/z", "/"} {
			requests = append(requests, "GET "+host+path, "POST "+host+path)
		}
	}
	problems := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		hosts := Hosts{Domain: "test", Any: seed%2 == 0}
		functions := randomFunctions(r)
		before := fmt.Sprintf("%+v", functions)
		want := dump(Compile(functions, hosts), requests)
		for range 5 {
			shuffled := slices.Clone(functions)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			if got := dump(Compile(shuffled, hosts), requests); got != want {
				t.Fatalf("seed %d: in one order\n%s\nin another\n%s", seed, want, got)
			}
		}
		if got := fmt.Sprintf("%+v", functions); got != before {
			t.Fatalf("seed %d: the functions themselves have changed", seed)
		}
		problems += strings.Count(want, "problem RouteTaken")
	}
	if problems < 60 {
		t.Errorf("only %d problems: the functions say too little", problems)
	}
}

func randomFunctions(r *rand.Rand) (out []v1alpha1.Function) {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for i := range 3 + r.IntN(8) {
		f := fn(fmt.Sprintf("%s/f%d", pick("a", "b"), i), r.IntN(3))
		for j := range r.IntN(4) {
			route := pick("GET ", "POST ", "GET,POST ", "") + pick("/x", "/y", "/{v}", "/x/{v}", "/{v}/y", "/{rest...}", "/x/y")
			var hosts []string
			if r.IntN(3) == 0 {
				hosts = []string{"www.test"}
			}
			f.Spec.Triggers = append(f.Spec.Triggers, syncHTTP(fmt.Sprintf("h%d", j), route, hosts...), onEvent(fmt.Sprintf("e%d", j), pick("a.*", "a.b", "*"), "a.c"))
			f.Spec.Triggers[2*j].HTTP.Async = r.IntN(2) == 0
		}
		if r.IntN(2) == 0 {
			f.Spec.Bindings = []v1alpha1.Binding{{Mail: &v1alpha1.MailBinding{}}, bucket("k", v1alpha1.AccessRead)}
		}
		if r.IntN(4) == 0 {
			f.Spec.Bindings = append(f.Spec.Bindings, v1alpha1.Binding{Function: &v1alpha1.FunctionBinding{Name: pick("f0", "f1", "f9")}})
		}
		out = append(out, f)
	}
	return out
}

func TestGrants(t *testing.T) {
	const read, write = v1alpha1.AccessRead, v1alpha1.AccessReadWrite
	f := fn("coop/offers", 1)
	f.Spec.Emits = []string{"offers.offer.redeemed.v1", "offers.log.*"}
	f.Spec.Bindings = []v1alpha1.Binding{
		bucket("r", read), bucket("w", write), bucket("default", ""),
		{Mail: &v1alpha1.MailBinding{}}, {Mail: &v1alpha1.MailBinding{}},
		{Objects: &v1alpha1.ObjectsBinding{Store: "r", Access: read}}, {Objects: &v1alpha1.ObjectsBinding{Store: "w", Access: write}},
		{Objects: &v1alpha1.ObjectsBinding{Store: "default"}},
		{Queue: &v1alpha1.QueueBinding{Name: "resize"}}, {Function: &v1alpha1.FunctionBinding{Name: "bare"}},
	}
	f.Spec.Timeout = &metav1.Duration{Duration: 7 * time.Second}
	s := Compile([]v1alpha1.Function{f, fn("coop/bare", 2)}, laptop)
	for _, name := range []string{"offers", "bare"} {
		got, bare := s.Functions[namesFunction("coop", name)], name == "bare"
		for b, want := range map[string][2]bool{"r": {true, false}, "w": {true, true}, "default": {true, true}, "other": {}} {
			if bare {
				want = [2]bool{}
			}
			if got.Buckets.MayRead(b) != want[0] || got.Buckets.MayWrite(b) != want[1] {
				t.Errorf("%s, bucket %q: read %v, write %v, want %v", name, b, got.Buckets.MayRead(b), got.Buckets.MayWrite(b), want)
			}
			if got.Stores.MayRead(b) != want[0] || got.Stores.MayWrite(b) != want[1] {
				t.Errorf("%s, store %q: read %v, write %v, want %v", name, b, got.Stores.MayRead(b), got.Stores.MayWrite(b), want)
			}
		}
		for typ, want := range map[string]bool{
			"offers.offer.redeemed.v1": true, "offers.offer.redeemed": false, "offers.offer.redeemed.v1.x": false,
			"offers.log.a": true, "offers.log.a.b": true, "offers.log": false, "offers.logs": false, "": false,
		} {
			if got.MayEmit(typ) != (want && !bare) {
				t.Errorf("%s, type %q: %v", name, typ, got.MayEmit(typ))
			}
		}
		if got.Mail == bare {
			t.Errorf("%s may mail: %v", name, got.Mail)
		}
		if got.Queues["resize"] == bare || got.Queues["other"] || got.Calls["bare"] == bare || got.Calls["offers"] {
			t.Errorf("%s may send to %v and call %v", name, got.Queues, got.Calls)
		}
		if want := map[bool]time.Duration{false: 7 * time.Second, true: v1alpha1.DefaultTimeout}[bare]; got.Timeout != want {
			t.Errorf("%s has the timeout %s", name, got.Timeout)
		}
	}
}

// TestCallees has a function that is bound to functions of which some are not
// there, are going, or are another namespace's: it works all the same, and is
// told.
func TestCallees(t *testing.T) {
	caller, going := fn("coop/caller", 3), fn("coop/going", 2)
	for _, name := range []string{"there", "caller", "going", "elsewhere"} {
		caller.Spec.Bindings = append(caller.Spec.Bindings, v1alpha1.Binding{Function: &v1alpha1.FunctionBinding{Name: name}})
	}
	going.DeletionTimestamp = &going.CreationTimestamp
	s := Compile([]v1alpha1.Function{caller, fn("coop/there", 1), going, fn("shop/elsewhere", 4)}, laptop)
	var got []string
	for _, p := range s.Problems {
		got = append(got, p.Reason+" "+p.Field+" "+p.String())
	}
	want := []string{
		`FunctionNotFound spec.bindings[2].function.name function coop/caller: its binding names function "going", and namespace "coop" has none of that name`,
		`FunctionNotFound spec.bindings[3].function.name function coop/caller: its binding names function "elsewhere", and namespace "coop" has none of that name`,
	}
	if !slices.Equal(got, want) || len(s.Functions[namesFunction("coop", "caller")].Calls) != 4 {
		t.Errorf("got the problems %q", got)
	}
}

// TestBeingDeleted has a Function that is on its way out wired to nothing, and
// its claims be anyone's.
func TestBeingDeleted(t *testing.T) {
	older, newer := fn("shop/a", 2, asyncHTTP("t", "POST /x")), fn("shop/b", 1, syncHTTP("t", "POST /x"))
	older.DeletionTimestamp = &older.CreationTimestamp
	s := Compile([]v1alpha1.Function{older, newer}, laptop)
	if len(s.Problems) > 0 || len(s.Functions) != 1 || answer(s, "POST shop.localhost/x") != "shop/b t" {
		t.Errorf("problems %v, functions %v, answered by %q", s.Problems, s.Functions, answer(s, "POST shop.localhost/x"))
	}
	for _, sub := range s.Subscriptions {
		if sub.Function.Name == "a" {
			t.Errorf("it still gets messages: %v", sub)
		}
	}
}
