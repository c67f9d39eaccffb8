package names

import (
	"regexp"
	"strings"
	"testing"
)

func TestValidEventType(t *testing.T) {
	tests := map[string]struct {
		in   string
		want bool
	}{
		"usual":          {"offers.offer.redeemed.v1", true},
		"one token":      {"joined", true},
		"every byte":     {"AZaz09_-", true},
		"longest":        {strings.Repeat("a", MaxEventType), true},
		"too long":       {strings.Repeat("a", MaxEventType+1), false},
		"empty":          {"", false},
		"leading dot":    {".a", false},
		"trailing dot":   {"a.", false},
		"empty token":    {"a..b", false},
		"space":          {"a b", false},
		"line break":     {"a\n", false},
		"star":           {"a.*", false},
		"greater":        {"a.>", false},
		"slash":          {"a/b", false},
		"not ASCII":      {"é", false},
		"dollar":         {"$JS.API", false},
		"percent":        {"a%2Eb", false},
		"not even UTF-8": {"\xff", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ValidEventType(test.in); got != test.want {
				t.Errorf("ValidEventType(%q) = %v, want %v", test.in, got, test.want)
			}
		})
	}
}

func TestValidEventPattern(t *testing.T) {
	tests := map[string]struct {
		in   string
		want bool
	}{
		"type":              {"a.b", true},
		"all":               {"*", true},
		"prefix":            {"a.*", true},
		"longest":           {strings.Repeat("a", MaxEventType-2) + ".*", true},
		"too long":          {strings.Repeat("a", MaxEventType-1) + ".*", false},
		"empty":             {"", false},
		"star not last":     {"*.a", false},
		"star in a token":   {"a*", false},
		"two stars":         {"*.*", false},
		"nothing before it": {".*", false},
		"greater":           {"a.>", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := ValidEventPattern(test.in); got != test.want {
				t.Errorf("ValidEventPattern(%q) = %v, want %v", test.in, got, test.want)
			}
		})
	}
}

// TestPatterns goes through all short patterns and types: a pattern covers
// another exactly when it matches each type that the other does, and a subject
// filter selects exactly the types that its pattern matches.
func TestPatterns(t *testing.T) {
	if MatchEventType("*", "") || MatchEventType("a.*", "a.") {
		t.Error("* stands for no token")
	}
	var patterns, types []string
	for _, s := range dotted(3, "a", "ab", "*") {
		if ValidEventPattern(s) {
			patterns = append(patterns, s)
		}
	}
	types = dotted(4, "a", "ab")
	for _, p := range patterns {
		for _, typ := range types {
			if got, want := MatchEventType(p, typ), matches(EventFilter("ns", p), EventSubject("ns", typ)); got != want {
				t.Errorf("MatchEventType(%q, %q) = %v, but a subject filter says %v", p, typ, got, want)
			}
		}
		for _, q := range patterns {
			want := true
			for _, typ := range types {
				want = want && (!MatchEventType(q, typ) || MatchEventType(p, typ))
			}
			if got := CoversEventPattern(p, q); got != want {
				t.Errorf("CoversEventPattern(%q, %q) = %v, want %v", p, q, got, want)
			}
		}
	}
}

// dotted is every sequence of 1 to n of the tokens.
func dotted(n int, tokens ...string) []string {
	out := append([]string(nil), tokens...)
	if n > 1 {
		for _, rest := range dotted(n-1, tokens...) {
			for _, token := range tokens {
				out = append(out, token+"."+rest)
			}
		}
	}
	return out
}

// matches is what NATS says of a subject and a filter.
func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		switch {
		case i >= len(s):
			return false
		case token == ">":
			return true
		case token != "*" && token != s[i]:
			return false
		}
	}
	return len(f) == len(s)
}

var (
	eventTypeRule = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	keyRule       = regexp.MustCompile(`^[-/_=A-Za-z0-9]+(\.[-/_=A-Za-z0-9]+)*$`)
)

func FuzzValidEventType(f *testing.F) {
	for _, s := range []string{"", "a.b", "a..b", ".", "a b", "*", "a.*", "é", "a\n", strings.Repeat("a.", 100) + "a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := ValidEventType(s), len(s) <= MaxEventType && eventTypeRule.MatchString(s); got != want {
			t.Errorf("ValidEventType(%q) = %v, want %v", s, got, want)
		}
		if ValidEventType(s) && (!ValidEventPattern(s) || !plain(EventSubject("ns", s))) {
			t.Errorf("the type %q is no pattern or no subject", s)
		}
	})
}

func FuzzValidKey(f *testing.F) {
	for _, s := range []string{"", "a.b", "a..b", ".a", "a.", "a/b=", "a b", "*", ">", "é", strings.Repeat("k", MaxKey+1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := ValidKey(s), len(s) <= MaxKey && keyRule.MatchString(s); got != want {
			t.Errorf("ValidKey(%q) = %v, want %v", s, got, want)
		}
	})
}
