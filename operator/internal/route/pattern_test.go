package route

import (
	"net/http"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		method, path string
		wantErr      string // empty: accepted
	}{
		"root":                   {"GET", "/", ""},
		"literals":               {"", "/a/b", ""},
		"wildcard":               {"POST", "/members/{number}", ""},
		"rest":                   {"", "/files/{path...}", ""},
		"end":                    {"", "/files/{$}", ""},
		"own method":             {"PURGE", "/a", ""},
		"encoded literal":        {"", "/a%20b", ""},
		"encoded slash":          {"", "/a%2Fb", ""},
		"letters of any script":  {"", "/{nömbre_2}", ""},
		"closing brace":          {"", "/a}", ""},
		"no slash":               {"", "a", `path "a" does not begin with /`},
		"empty":                  {"", "", "does not begin with /"},
		"method with a space":    {"GET ", "/", `invalid method "GET "`},
		"empty segment":          {"", "/a//b", `segment "" is not allowed`},
		"dot segment":            {"", "/a/./b", `segment "." is not allowed`},
		"dot-dot segment":        {"", "/a/..", `segment ".." is not allowed`},
		"bad encoding":           {"", "/a%zz", `segment "a%zz" is badly encoded`},
		"text before a wildcard": {"", "/a{x}", `segment "a{x}" mixes a wildcard with other text`},
		"text after a wildcard":  {"", "/{x}a", `segment "{x}a" mixes a wildcard with other text`},
		"open brace":             {"", "/{", `segment "{" mixes a wildcard with other text`},
		"no name":                {"", "/{}", `segment "{}" has a name that is not letters`},
		"rest without a name":    {"", "/{...}", `has a name that is not letters`},
		"name with a dash":       {"", "/{a-b}", `has a name that is not letters`},
		"name with a digit":      {"", "/{1a}", `has a name that is not letters`},
		"rest in the middle":     {"", "/{x...}/a", `segment "{x...}" is allowed only at the end`},
		"end in the middle":      {"", "/{$}/a", `segment "{$}" is allowed only at the end`},
		"slash after the end":    {"", "/{$}/", `segment "{$}" is allowed only at the end`},
		"one name twice":         {"", "/{x}/{x...}", `two wildcards named "x"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := Parse(test.method, test.path)
			if test.wantErr == "" {
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.TrimPrefix(test.method+" "+test.path, " "); p.String() != want {
					t.Errorf("String() = %q, want %q", p, want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("error %v, want one with %q", err, test.wantErr)
			}
		})
	}
}

// FuzzParse: whatever Parse accepts, ServeMux accepts.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"/", "/a/{x}/{y...}", "/a/{$}", "/a//b", "/%7Bx}", "/{x}{y}", "/a b", "/{é}/%zz"} {
		f.Add("GET", path)
		f.Add("", path)
	}
	f.Fuzz(func(t *testing.T, method, path string) {
		p, err := Parse(method, path)
		if err != nil {
			return
		}
		if method == "" {
			method = "ANY" // without one, ServeMux would read "/a b" as a method and a path
		}
		defer func() {
			if v := recover(); v != nil {
				t.Fatalf("ServeMux refuses %q, which Parse accepts: %v", p, v)
			}
		}()
		http.NewServeMux().Handle(method+" "+path, http.NotFoundHandler())
	})
}
