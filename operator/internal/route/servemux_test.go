package route

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// reached is a ServeMux handler that notes the request it got.
type reached struct{ request *http.Request }

func (h *reached) ServeHTTP(_ http.ResponseWriter, r *http.Request) { h.request = r }

// accepts reports whether mux takes the pattern: it panics when that conflicts with an earlier one.
func accepts(mux *http.ServeMux, pattern string, h http.Handler) (ok bool) {
	defer func() { ok = recover() == nil }()
	mux.Handle(pattern, h)
	return true
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

func randomPattern(r *rand.Rand) string {
	path := ""
	for _, name := range []string{"x", "y", "z"}[:r.IntN(4)] {
		path += "/" + pick(r, "a", "b", "%61", "c d", "{"+name+"}", "{"+name+"}")
	}
	path += pick(r, "", "/", "/{$}", "/{rest...}")
	if path == "" {
		path = "/"
	}
	method := pick(r, "GET", "HEAD", "POST", "ANY", "ANY")
	return strings.TrimPrefix(method+" "+path, "ANY ")
}

func randomPath(r *rand.Rand) string {
	path := ""
	for range r.IntN(5) {
		path += "/" + pick(r, "a", "b", "%61", "%62", "c%20d", "e", "%C3%A9")
	}
	if path == "" || r.IntN(4) == 0 {
		path += "/"
	}
	return path
}

// TestLikeServeMux compares verdicts on conflicts, matches, values and allowed methods with those of ServeMux, which
// also redirects; there, and only there, the two may differ.
func TestLikeServeMux(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		mux, handler, builder := http.NewServeMux(), &reached{}, Builder[string]{}
		var patterns []string
		for range 1 + r.IntN(12) {
			// ServeMux takes a space for the end of the method unless there is one.
			pattern := strings.ReplaceAll(randomPattern(r), "c d", "c%20d")
			c, ok := builder.Add(mustParse(t, pattern), pattern)
			if want := accepts(mux, pattern, handler); ok != want {
				t.Fatalf("ServeMux accepts %s after %q: %v; Add says %v %s", pattern, patterns, want, ok, c.How)
			}
			if ok {
				patterns = append(patterns, pattern)
			} else if !slices.Contains(patterns, c.Value) || c.Pattern.String() != c.Value {
				t.Fatalf("%s conflicts with %s, which was never added", pattern, c.Value)
			}
		}
		table := builder.Table()
		for range 40 {
			method, path := pick(r, "GET", "HEAD", "POST", "PUT"), randomPath(r)
			handler.request = nil
			answer := httptest.NewRecorder()
			mux.ServeHTTP(answer, httptest.NewRequest(method, "http://host"+path, nil))
			value, params, ok := table.Match(method, path)
			switch {
			case handler.request != nil:
				if value != handler.request.Pattern {
					t.Fatalf("%s %s with %q matches %q, ServeMux: %q", method, path, patterns, value, handler.request.Pattern)
				}
				compareParams(t, params, handler.request)
			case answer.Code == http.StatusNotFound || answer.Code == http.StatusMethodNotAllowed:
				if ok {
					t.Fatalf("%s %s with %q matches %q, ServeMux: nothing", method, path, patterns, value)
				}
				compareAllowed(t, table, path, answer.Header().Get("Allow"))
			}
		}
	}
}

func compareParams(t *testing.T, params []Param, r *http.Request) {
	t.Helper()
	if strings.Count(r.Pattern, "{") != len(params)+strings.Count(r.Pattern, "{$}") {
		t.Fatalf("%s on %s has parameters %q", r.Pattern, r.URL.EscapedPath(), params)
	}
	for _, p := range params {
		value, err := url.PathUnescape(p.Value)
		if err != nil || value != r.PathValue(p.Name) {
			t.Fatalf("%s on %s: %s is %q, ServeMux: %q", r.Pattern, r.URL.EscapedPath(), p.Name, p.Value, r.PathValue(p.Name))
		}
	}
}

// compareAllowed knows that ServeMux adds the methods of the path with a slash, to which it would redirect.
func compareAllowed(t *testing.T, table *Table[string], path, want string) {
	t.Helper()
	allowed := table.Allowed(path)
	if !strings.HasSuffix(path, "/") {
		allowed = append(allowed, table.Allowed(path+"/")...)
	}
	slices.Sort(allowed)
	if got := strings.Join(slices.Compact(allowed), ", "); got != want {
		t.Fatalf("Allowed(%q) = %s, ServeMux: %s", path, got, want)
	}
}

// matches says for one pattern alone, without the tree, whether it matches.
func matches(p Pattern, method, path string) bool {
	if !covers(p.Method, method) {
		return false
	}
	for _, s := range p.segments {
		if path == "" || path[0] != '/' {
			return false
		}
		text, rest := cut(path)
		decoded, err := url.PathUnescape(text)
		if err != nil {
			decoded = text
		}
		switch {
		case s.kind == multi:
			return true
		case s.kind == literal && decoded != s.text, s.kind == wild && text == "", s.kind == end && (text != "" || rest != ""):
			return false
		}
		path = rest
	}
	return path == ""
}

// overlap says for two patterns alone, without the tree, whether some path matches both.
func overlap(p, q Pattern) bool {
	for i := range min(len(p.segments), len(q.segments)) {
		a, b := p.segments[i], q.segments[i]
		switch {
		case a.kind == multi || b.kind == multi:
			return true
		case (a.kind == end) != (b.kind == end), a.kind == literal && b.kind == literal && a.text != b.text:
			return false
		}
	}
	return len(p.segments) == len(q.segments)
}

// wider reports whether p matches all that q does, given that they overlap.
func wider(p, q Pattern) bool {
	for i := range min(len(p.segments), len(q.segments)) {
		if p.segments[i].kind < q.segments[i].kind {
			return false
		}
	}
	return covers(p.Method, q.Method)
}

// FuzzMatch checks a table against its patterns taken one by one: a pattern is refused when it conflicts with one added
// before; the value found belongs to a pattern that matches, and every other that does is wider; nothing found means
// that none matches. The paths need not be clean.
func FuzzMatch(f *testing.F) {
	f.Add("/a/{x}\nGET /a/b\n/{x}/\n/a/{$}\n/{y...}", "GET", "/a/b")
	f.Add("GET /{x}/b\n/a/{rest...}\nPOST /", "HEAD", "//%62/")
	f.Add("/a//b\n/{x\n/%41/{y}\n/{x}/{y}/c\n/{x}/d", "GET", "/A/../b")
	f.Fuzz(func(t *testing.T, lines, method, path string) {
		var b Builder[Pattern]
		var added []Pattern
		for line := range strings.Lines(lines) {
			m, target, found := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if !found {
				m, target = "", m
			}
			p, err := Parse(m, target)
			if err != nil {
				continue
			}
			conflicts := slices.ContainsFunc(added, func(q Pattern) bool { return overlap(p, q) && conflict(p, q) != "" })
			c, ok := b.Add(p, p)
			if ok == conflicts {
				t.Fatalf("adding %s to %s: %v %s", p, added, ok, c.How)
			}
			if ok {
				added = append(added, p)
			} else if m, target, found := strings.Cut(example(p, c.Pattern), " "); found && !(matches(p, m, target) && matches(c.Pattern, m, target)) {
				t.Fatalf("%s %s, which is not so", p, c.How)
			}
		}
		value, _, ok := b.Table().Match(method, path)
		if ok && !matches(value, method, path) {
			t.Fatalf("%s %s does not match %s", method, path, value)
		}
		for _, p := range added {
			if matches(p, method, path) && !(ok && wider(p, value)) {
				t.Fatalf("%s %s matches %s, found %s (%v)", method, path, p, value, ok)
			}
		}
	})
}
