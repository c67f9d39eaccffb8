package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// mustParse reads "GET /a/{x}" or "/a/{x}".
func mustParse(t testing.TB, pattern string) Pattern {
	t.Helper()
	method, path, found := strings.Cut(pattern, " ")
	if !found {
		method, path = "", pattern
	}
	p, err := Parse(method, path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// tableOf claims each pattern for its own text.
func tableOf(t testing.TB, patterns ...string) *Table[string] {
	t.Helper()
	var b Builder[string]
	for _, pattern := range patterns {
		if c, ok := b.Add(mustParse(t, pattern), pattern); !ok {
			t.Fatalf("%s %s", pattern, c.How)
		}
	}
	return b.Table()
}

func TestMatch(t *testing.T) {
	table := tableOf(t,
		"/members", "GET /members/{number}", "DELETE /members/{number}", "GET /members/{number}/offers",
		"POST /members/{number}/offers/{offer}/redemptions", "GET /members/new", "HEAD /members/head", "GET /members/head",
		"/files/{path...}", "/files/{$}", "GET /files/{folder}/index", "/tree/", "/a%20b", "/slash/{$}", "/slash/{x}",
	)
	tests := map[string]struct {
		request string
		want    string // the pattern; empty: none
		params  string
	}{
		"literal, any method":           {"PURGE /members", "/members", ""},
		"no trailing slash redirect":    {"GET /members/", "", ""},
		"parameter":                     {"GET /members/6331/offers", "GET /members/{number}/offers", "number=6331"},
		"two parameters":                {"POST /members/1/offers/2/redemptions", "POST /members/{number}/offers/{offer}/redemptions", "number=1 offer=2"},
		"method picks":                  {"DELETE /members/7", "DELETE /members/{number}", "number=7"},
		"wrong method":                  {"PUT /members/7", "", ""},
		"HEAD by GET":                   {"HEAD /members/7", "GET /members/{number}", "number=7"},
		"HEAD by HEAD":                  {"HEAD /members/head", "HEAD /members/head", ""},
		"literal before wildcard":       {"GET /members/new", "GET /members/new", ""},
		"back to the wildcard":          {"GET /members/new/offers", "GET /members/{number}/offers", "number=new"},
		"back by method":                {"DELETE /members/new", "DELETE /members/{number}", "number=new"},
		"parameter stays encoded":       {"GET /members/a%2Fb%20c", "GET /members/{number}", "number=a%2Fb%20c"},
		"literal encoded otherwise":     {"GET /m%65mbers/7", "GET /members/{number}", "number=7"},
		"literal with an encoded space": {"GET /a%20b", "/a%20b", ""},
		"empty segment is no parameter": {"GET /members//offers", "", ""},
		"rest":                          {"GET /files/a/b/", "/files/{path...}", "path=a/b/"},
		"rest with empty segments":      {"GET /files//a", "/files/{path...}", "path=/a"},
		"rest with dots":                {"GET /files/../a", "/files/{path...}", "path=../a"},
		"rest needs its slash":          {"GET /files", "", ""},
		"end":                           {"GET /files/", "/files/{$}", ""},
		"wildcard before rest":          {"GET /files/a/index", "GET /files/{folder}/index", "folder=a"},
		"back to rest":                  {"POST /files/a/index", "/files/{path...}", "path=a/index"},
		"nameless rest":                 {"GET /tree/a/b", "/tree/", ""},
		"nameless rest, nothing":        {"GET /tree/", "/tree/", ""},
		"an encoded slash is no end":    {"GET /slash/%2F", "/slash/{x}", "x=%2F"},
		"asterisk form":                 {"OPTIONS *", "", ""},
		"authority form":                {"CONNECT ", "", ""},
		"bad encoding":                  {"GET /members/%zz", "GET /members/{number}", "number=%zz"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(test.request, " ")
			value, params, ok := table.Match(method, path)
			if value != test.want || ok != (test.want != "") {
				t.Errorf("%s matched %q (%v), want %q", test.request, value, ok, test.want)
			}
			if got := fmt.Sprint(params); got != fmt.Sprint(parseParams(test.params)) {
				t.Errorf("%s has parameters %s, want %s", test.request, got, test.params)
			}
		})
	}
}

func parseParams(s string) (params []Param) {
	for _, field := range strings.Fields(s) {
		name, value, _ := strings.Cut(field, "=")
		params = append(params, Param{name, value})
	}
	return params
}

func TestAllowed(t *testing.T) {
	table := tableOf(t, "GET /a/{x}", "POST /a/b", "DELETE /{x}/b", "PUT /a/", "HEAD /head", "/any")
	tests := map[string]struct {
		path string
		want []string
	}{
		"over several patterns": {"/a/b", []string{"DELETE", "GET", "HEAD", "POST", "PUT"}},
		"one":                   {"/x/b", []string{"DELETE"}},
		"HEAD alone":            {"/head", []string{"HEAD"}},
		"any method":            {"/any", nil},
		"nothing":               {"/nothing", nil},
		"no path":               {"", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := table.Allowed(test.path); !slices.Equal(got, test.want) {
				t.Errorf("Allowed(%q) = %q, want %q", test.path, got, test.want)
			}
		})
	}
}

func TestZeroTable(t *testing.T) {
	var table Table[int]
	if _, _, ok := table.Match("GET", "/"); ok {
		t.Error("the zero table matched")
	}
	if got := new(Builder[int]).Table().Allowed("/"); got != nil {
		t.Errorf("an empty table allows %q", got)
	}
}

func TestMatchAllocates(t *testing.T) {
	table := tableOf(t, "GET /members/{number}/offers/{offer}", "GET /members", "/files/{path...}", "GET /members/new/x/y")
	for path, want := range map[string]float64{
		"/members": 0, "/nothing/at/all": 0, "/members/1/offers/2": 1, "/members/new/offers/2": 1, "/files/a/b": 1,
	} {
		if got := testing.AllocsPerRun(100, func() { table.Match("GET", path) }); got != want {
			t.Errorf("matching %s allocates %v times, want %v", path, got, want)
		}
	}
}

// numbered returns n patterns of each shape, # standing for a number.
func numbered(t testing.TB, n int, shapes ...string) []Pattern {
	var patterns []Pattern
	for _, shape := range shapes {
		for i := range n {
			patterns = append(patterns, mustParse(t, strings.ReplaceAll(shape, "#", fmt.Sprint(i))))
		}
	}
	return patterns
}

func BenchmarkMatch(b *testing.B) {
	var builder Builder[int]
	for i, p := range numbered(b, 10_000, "GET /f#/a/{id}", "GET /members/{number}/things-#", "/s#/{rest...}") {
		builder.Add(p, i)
	}
	table := builder.Table()
	for _, path := range []string{"/f77/a/1", "/members/6331740000000000/things-77", "/s77/a/b/c", "/nothing"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Match("GET", path)
			}
		})
	}
}

// BenchmarkBuild adds 30,000 patterns; none of them conflict, and each shape would be slow for some way of looking for
// those that do.
func BenchmarkBuild(b *testing.B) {
	for name, shapes := range map[string][]string{
		"literals first":  {"/f#/a/{id}", "/members/{number}/things-#", "/members/import-#/status"},
		"wildcards first": {"/service-#/status/x", "/{tenant}/orders-#/{id}", "/{tenant}/status/about-#"},
		"rest":            {"/f#/{rest...}", "/a/f#/{rest...}", "/members/{number}/f#/{rest...}"},
	} {
		b.Run(name, func(b *testing.B) {
			patterns := numbered(b, 10_000, shapes...)
			for b.Loop() {
				var builder Builder[int]
				for i, p := range patterns {
					if c, ok := builder.Add(p, i); !ok {
						b.Fatalf("%s %s", p, c.How)
					}
				}
				builder.Table()
			}
		})
	}
}
