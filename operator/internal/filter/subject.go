package filter

import (
	"regexp"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/event"
)

// Subject lets events pass whose subject matches a pattern as a whole: "?" stands
// for one character and "*" for any number of them, none of which is a slash, and
// "**" for any number of characters of any kind. Every pattern is one.
func Subject(pattern string) func(*event.Event) bool {
	var b strings.Builder
	for rest := strings.ToValidUTF8(pattern, "\uFFFD"); rest != ""; {
		switch token := subjectTokens.FindString(rest); token {
		case "**":
			b.WriteString(".*")
			rest = rest[2:]
		case "*":
			b.WriteString("[^/]*")
			rest = rest[1:]
		case "?":
			b.WriteString("[^/]")
			rest = rest[1:]
		default:
			b.WriteString(regexp.QuoteMeta(token))
			rest = rest[len(token):]
		}
	}
	whole := regexp.MustCompile(`^(?s:` + b.String() + `)$`)
	return func(e *event.Event) bool { return whole.MatchString(event.Decode(e.Get("subject"))) }
}

// subjectTokens finds what a pattern begins with: a wildcard, or text.
var subjectTokens = regexp.MustCompile(`^([*][*]|[*]|[?]|[^*?]+)`)
