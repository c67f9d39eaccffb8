package filter

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"
	eventing "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/event"
)

type (
	filters = []v1alpha1.Filter
	leafs   = []v1alpha1.LeafFilter
	values  = map[string]string
)

// joined is an event with more attributes, given as name and header value.
func joined(pairs ...string) *event.Event {
	e := &event.Event{Attributes: []event.Attribute{{Name: "specversion", Value: "1.0"}, {Name: "id", Value: "1"}, {Name: "source", Value: "/membership"}, {Name: "type", Value: "member.joined.v1"}}}
	for i := 0; i < len(pairs); i += 2 {
		e.Set(pairs[i], pairs[i+1])
	}
	return e
}

func TestCompile(t *testing.T) {
	exact := func(pairs ...string) v1alpha1.LeafFilter { return v1alpha1.LeafFilter{Exact: pairsOf(pairs)} }
	yes, no := exact("id", "1"), exact("id", "2")
	cesql := func(s string) filters { return filters{{CESQL: s}} }
	gold := joined("tier", "gold", "points", "7", "subject", "a%20%E2%82%AC")
	tests := map[string]struct {
		filters filters
		want    bool
	}{
		"exact":                   {filters{{Exact: values{"type": "member.joined.v1"}}}, true},
		"exact, another":          {filters{{Exact: values{"type": "member.joined"}}}, false},
		"exact, two":              {filters{{Exact: values{"tier": "gold", "id": "1"}}}, true},
		"exact, one of two":       {filters{{Exact: values{"tier": "gold", "id": "2"}}}, false},
		"exact, not there":        {filters{{Exact: values{"colour": "gold"}}}, false},
		"exact, decoded":          {filters{{Exact: values{"subject": "a €"}}}, true},
		"prefix":                  {filters{{Prefix: values{"source": "/member"}}}, true},
		"prefix, another":         {filters{{Prefix: values{"source": "member"}}}, false},
		"suffix":                  {filters{{Suffix: values{"type": ".v1"}}}, true},
		"suffix, another":         {filters{{Suffix: values{"type": ".v2"}}}, false},
		"all":                     {filters{{All: leafs{yes, yes}}}, true},
		"all but one":             {filters{{All: leafs{yes, no}}}, false},
		"any":                     {filters{{Any: leafs{no, yes}}}, true},
		"not any":                 {filters{{Any: leafs{no, no}}}, false},
		"not":                     {filters{{Not: &no}}, true},
		"not, but it is":          {filters{{Not: &yes}}, false},
		"several":                 {filters{{Exact: yes.Exact}, {Not: &no}, {Suffix: values{"tier": "old"}}}, true},
		"several, one fails":      {filters{{Exact: yes.Exact}, {Not: &yes}}, false},
		"cesql":                   {cesql("type = 'member.joined.v1' AND tier IN ('gold', 'silver')"), true},
		"cesql, false":            {cesql("NOT EXISTS tier"), false},
		"cesql, a pattern":        {cesql("source LIKE '/mem%'"), true},
		"cesql, a number":         {cesql("points > 5"), true},
		"cesql, decoded":          {cesql("subject = 'a €'"), true},
		"cesql, not there":        {cesql("colour = 'gold'"), false},
		"cesql in any":            {filters{{Any: leafs{no, {CESQL: "tier = 'gold'"}}}}, true},
		"cesql, not boolean":      {cesql("5"), false},
		"cesql, a string":         {cesql("tier"), false},
		"cesql, cannot be done":   {cesql("points / 0 = 1"), false},
		"not a failed cesql":      {filters{{Not: &v1alpha1.LeafFilter{CESQL: "colour = 'gold'"}}}, true},
		"cesql, half not boolean": {filters{{Any: leafs{{CESQL: "5"}, yes}}}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			match, err := Compile(test.filters)
			if err != nil {
				t.Fatal(err)
			}
			if got := match(gold); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func pairsOf(pairs []string) values {
	out := values{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

func TestCompileNothing(t *testing.T) {
	if match, err := Compile(nil); match != nil || err != nil {
		t.Errorf("no filters: %p, %v", match, err)
	}
}

func TestCompileRefuses(t *testing.T) {
	bad := v1alpha1.LeafFilter{CESQL: "type ="}
	tests := map[string]struct {
		filters filters
		want    string
	}{
		"cesql cut off":        {filters{{CESQL: "type ="}}, "filter 1: "},
		"cesql, open brackets": {filters{{Exact: values{"id": "1"}}, {CESQL: "((type"}}, "filter 2: "},
		"cesql, open string":   {filters{{CESQL: "type = 'a"}}, "filter 1: "},
		"cesql, only a space":  {filters{{CESQL: " "}}, "filter 1: "},
		"cesql, SQL":           {filters{{CESQL: "SELECT * FROM events"}}, "filter 1: "},
		"cesql, number":        {filters{{CESQL: "99999999999999999999 = 1"}}, "filter 1: "},
		"in all":               {filters{{All: leafs{bad}}}, "filter 1: "},
		"in any":               {filters{{Any: leafs{{Exact: values{"id": "1"}}, bad}}}, "filter 1: "},
		"in not":               {filters{{Not: &bad}}, "filter 1: "},
		"empty value":          {filters{{Exact: values{"id": ""}}}, "empty"},
		"nothing":              {filters{{}}, "no dialect"},
		"nothing in all":       {filters{{All: leafs{{}}}}, "no dialect"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			match, err := Compile(test.filters)
			if err == nil || !strings.Contains(err.Error(), test.want) || match != nil {
				t.Errorf("got the error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestAgreesWithKnative has random filters decide on random events as Knative's
// own do; of its all and any, which race with a goroutine of theirs, as all and
// any of their parts.
func TestAgreesWithKnative(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	passed := 0
	for range 2000 {
		f := randomFilter(r)
		match, err := Compile(filters{f})
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		theirs := knative(t, f)
		for range 10 {
			e := randomEvent(r)
			ce, err := e.SDK()
			if err != nil {
				t.Fatal(err)
			}
			got, want := match(e), theirs(*ce)
			if got != want {
				t.Fatalf("%+v of %v: got %v, Knative says %v", f, e.Attributes, got, want)
			}
			if want {
				passed++
			}
		}
	}
	if passed < 2000 || passed > 18_000 {
		t.Errorf("%d of 20,000 passed: the events say too little", passed)
	}
}

func knative(t *testing.T, f v1alpha1.Filter) func(sdk.Event) bool {
	var theirs eventing.SubscriptionsAPIFilter
	raw, err := json.Marshal(f)
	if err == nil {
		err = json.Unmarshal(raw, &theirs)
	}
	if err != nil {
		t.Fatal(err)
	}
	var parts []eventfilter.Filter
	for _, part := range append(theirs.All, theirs.Any...) {
		parts = append(parts, subscriptionsapi.MaterializeSubscriptionsAPIFilter(zap.NewNop(), part))
	}
	if parts == nil {
		parts = append(parts, subscriptionsapi.MaterializeSubscriptionsAPIFilter(zap.NewNop(), theirs))
	}
	return func(e sdk.Event) bool {
		passed := 0
		for _, p := range parts {
			if p.Filter(t.Context(), e) == eventfilter.PassFilter {
				passed++
			}
		}
		return passed == len(parts) || passed > 0 && theirs.Any != nil
	}
}

func randomFilter(r *rand.Rand) v1alpha1.Filter {
	list := func() (out leafs) {
		for range 1 + r.IntN(3) {
			out = append(out, randomLeaf(r))
		}
		return out
	}
	switch r.IntN(4) {
	case 0:
		return v1alpha1.Filter{All: list()}
	case 1:
		return v1alpha1.Filter{Any: list()}
	case 2:
		l := randomLeaf(r)
		return v1alpha1.Filter{Not: &l}
	}
	l := randomLeaf(r)
	return v1alpha1.Filter{Exact: l.Exact, Prefix: l.Prefix, Suffix: l.Suffix, CESQL: l.CESQL}
}

var attributeNames = []string{"id", "source", "type", "subject", "ext", "other"}

func randomLeaf(r *rand.Rand) v1alpha1.LeafFilter {
	name, value := attributeNames[r.IntN(len(attributeNames))], randomValue(r)
	switch r.IntN(4) {
	case 0:
		return v1alpha1.LeafFilter{Exact: values{name: value}}
	case 1:
		return v1alpha1.LeafFilter{Prefix: values{name: value[:1]}}
	case 2:
		return v1alpha1.LeafFilter{Suffix: values{name: value[len(value)-1:], "id": value[len(value)-1:]}}
	}
	return v1alpha1.LeafFilter{CESQL: fmt.Sprintf([]string{"%s = '%s'", "%s LIKE '%s%%'", "%s != '%s'", "EXISTS %s OR '%s' = 'a'"}[r.IntN(4)], name, value)}
}

func randomEvent(r *rand.Rand) *event.Event {
	e := joined()
	for _, name := range attributeNames[:3+r.IntN(4)] {
		e.Set(name, randomValue(r))
	}
	return e
}

func randomValue(r *rand.Rand) string {
	return strings.Repeat("a", r.IntN(2)) + string(rune('a'+r.IntN(2))) + strings.Repeat("b", r.IntN(2))
}

// TestConcurrent decides in many goroutines at once, as a worker does.
func TestConcurrent(t *testing.T) {
	exact := v1alpha1.LeafFilter{Exact: values{"tier": "gold"}}
	match, err := Compile(filters{
		{CESQL: "tier = 'gold' AND points > 5"}, {CESQL: "5 > 4"}, {All: leafs{exact}}, {Any: leafs{{Prefix: values{"tier": "g"}}, exact}}, {Suffix: values{"tier": "d"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 300 {
				points := (i + j) % 11
				if got := match(joined("tier", "gold", "points", fmt.Sprint(points))); got != (points > 5) {
					t.Errorf("with %d points: %v", points, got)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkMatch(b *testing.B) {
	e := joined("tier", "gold", "time", "2026-01-02T03:04:05Z")
	for name, f := range map[string]v1alpha1.Filter{
		"exact": {Exact: values{"tier": "gold"}},
		"cesql": {CESQL: "tier = 'gold'"},
	} {
		b.Run(name, func(b *testing.B) {
			match, err := Compile(filters{f})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				match(e)
			}
		})
	}
}
