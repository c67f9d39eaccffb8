package filter_test

import (
	"testing"

	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/filter"
)

func about(subject string) *event.Event {
	return &event.Event{Attributes: []event.Attribute{{Name: "subject", Value: event.Encode(subject)}}}
}

func TestSubject(t *testing.T) {
	tests := map[string]struct{ yes, no []string }{
		"a.csv":        {[]string{"a.csv"}, []string{"", "axcsv", "a.csv2", "ba.csv", "a.csv\n", "A.csv"}},
		"*.csv":        {[]string{"a.csv", ".csv", "Prüfung 100%.csv", "a\nb.csv"}, []string{"in/a.csv", "a.csv.gz", "acsv"}},
		"in/*.csv":     {[]string{"in/a.csv"}, []string{"a.csv", "in/b/a.csv", "out/a.csv"}},
		"in/**":        {[]string{"in/", "in/a", "in/b/a.csv", "in/a\nb"}, []string{"in", "out/in/a"}},
		"**/a.csv":     {[]string{"in/a.csv", "in/b/a.csv", "/a.csv"}, []string{"a.csv"}},
		"**.csv":       {[]string{"a.csv", "in/b/a.csv"}, []string{"a.csv.gz"}},
		"?.csv":        {[]string{"a.csv", "é.csv"}, []string{".csv", "ab.csv", "/.csv"}},
		"***":          {[]string{"", "a", "a/b"}, nil},
		`[a-z]\{1}$.+`: {[]string{`[a-z]\{1}$.+`}, []string{"a", `b\{1}$.+`}},
		"**":           {[]string{"", "a/b\r\n\x00"}, nil},
	}
	for pattern, test := range tests {
		match := filter.Subject(pattern)
		for _, name := range test.yes {
			if !match(about(name)) {
				t.Errorf("%q does not match %q", pattern, name)
			}
		}
		for _, name := range test.no {
			if match(about(name)) {
				t.Errorf("%q matches %q", pattern, name)
			}
		}
	}
}

// FuzzSubject checks that every pattern is one, and that text stands for itself
// and for itself alone.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"", "a", "*", "**", "?", "a/*.csv", `\[`, "\xff", "(?i)a", "$^"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := filter.Subject(pattern)(about(name))
		if plain := !wildcard(pattern); plain && got != (pattern == name) {
			t.Errorf("%q matches %q: %v", pattern, name, got)
		}
		if !filter.Subject("**")(about(name)) {
			t.Errorf("** does not match %q", name)
		}
	})
}

func wildcard(pattern string) bool {
	for _, c := range pattern {
		if c == '*' || c == '?' || c == '\uFFFD' {
			return true
		}
	}
	return false
}
