// Package route matches a method and a path to the one most specific pattern that claims them.
//
// It owns the pattern syntax, the order of precedence and the verdict on patterns that conflict: all three are those of
// net/http's ServeMux. It never redirects, never cleans a path and never looks at a host: "/a" is not "/a/", and "/a//b"
// and "/a/../b" are matched as they are. It performs no I/O and imports the standard library alone.
package route

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// Pattern claims the requests of one method, or of all, whose path has one shape. Parse makes it.
type Pattern struct {
	// Method is an HTTP method, case-sensitive. GET also stands for HEAD; empty stands for every method.
	Method string
	// Path is a sequence of segments, each a literal or a wildcard:
	//
	//	/members            a literal, compared percent-decoded
	//	/members/{number}   one segment, never an empty one
	//	/files/{path...}    all that follows, "/files/" itself included but not "/files"
	//	/files/             the same without a name
	//	/files/{$}          "/files/" alone
	Path string

	segments []segment
}

// segment is one step of a pattern's path. Its text is a literal's decoded value or a wildcard's name.
type segment struct {
	kind kind
	text string
}

// kind orders segments that can match the same text from the narrowest to the widest.
type kind uint8

const (
	literal kind = iota
	end          // {$}: an empty last segment
	wild         // {name}
	multi        // {name...}, or nothing after a last slash
)

// key returns what tells s from its siblings in the tree: a literal's text; a wildcard's name does not count.
func (s segment) key() segment {
	if s.kind != literal {
		s.text = ""
	}
	return s
}

// Parse checks a method and a path and returns their pattern. Unlike ServeMux it refuses what no request could match: an
// empty, "." or ".." segment and an invalid percent-encoding, whatever the method.
func Parse(method, path string) (Pattern, error) {
	p := Pattern{Method: method, Path: path}
	if strings.ContainsFunc(method, notToken) {
		return Pattern{}, fmt.Errorf("invalid method %q", method)
	}
	if !strings.HasPrefix(path, "/") {
		return Pattern{}, fmt.Errorf("path %q does not begin with /", path)
	}
	names := map[string]bool{}
	for text, rest := "", path; rest != ""; {
		text, rest = cut(rest)
		s, err := parseSegment(text, rest == "")
		if err != nil {
			return Pattern{}, fmt.Errorf("path %q: segment %q %w", path, text, err)
		}
		if s.kind != literal && s.text != "" {
			if names[s.text] {
				return Pattern{}, fmt.Errorf("path %q: two wildcards named %q", path, s.text)
			}
			names[s.text] = true
		}
		p.segments = append(p.segments, s)
	}
	return p, nil
}

// parseSegment reads one segment; its errors continue the phrase "segment x ...".
func parseSegment(text string, last bool) (segment, error) {
	switch {
	case text == "" && last:
		return segment{kind: multi}, nil
	case text == "" || text == "." || text == "..":
		return segment{}, errors.New("is not allowed: the path must be clean")
	case !strings.Contains(text, "{"):
		decoded, err := url.PathUnescape(text)
		if err != nil {
			return segment{}, fmt.Errorf("is badly encoded: %w", err)
		}
		return segment{literal, decoded}, nil
	case text[0] != '{' || text[len(text)-1] != '}':
		return segment{}, errors.New("mixes a wildcard with other text")
	}
	name := text[1 : len(text)-1]
	s := segment{wild, name}
	if before, found := strings.CutSuffix(name, "..."); found {
		s = segment{multi, before}
	} else if name == "$" {
		s = segment{kind: end}
	}
	if s.kind != wild && !last {
		return segment{}, errors.New("is allowed only at the end")
	}
	if s.kind != end && !isIdentifier(s.text) {
		return segment{}, errors.New("has a name that is not letters, digits and _, a digit not first")
	}
	return s, nil
}

// String returns the pattern as ServeMux would write it, such as "GET /members/{number}".
func (p Pattern) String() string {
	return strings.TrimPrefix(p.Method+" "+p.Path, " ")
}

// conflict says how p and q, whose paths overlap, claim the same requests without one of them being the more specific:
// the words complete a sentence that begins with p. It returns "" when they have no method in common or one of them wins.
func conflict(p, q Pattern) string {
	pCovers, qCovers := covers(p.Method, q.Method), covers(q.Method, p.Method)
	if !pCovers && !qCovers {
		return ""
	}
	for i := range min(len(p.segments), len(q.segments)) {
		a, b := p.segments[i].kind, q.segments[i].kind
		pCovers = pCovers && a >= b
		qCovers = qCovers && b >= a
	}
	switch {
	case pCovers && qCovers:
		return fmt.Sprintf("matches the same requests as %s", q)
	case !pCovers && !qCovers:
		return fmt.Sprintf("overlaps %s: both match %s and neither is more specific", q, example(p, q))
	}
	return ""
}

// covers reports whether a pattern of method a claims every request that one of method b claims.
func covers(a, b string) bool {
	return a == "" || a == b || a == "GET" && b == "HEAD"
}

// example returns a request that both patterns match, given that there is one.
func example(p, q Pattern) string {
	e := Pattern{Method: p.Method}
	if covers(p.Method, q.Method) {
		e.Method = q.Method
	}
	for i := range max(len(p.segments), len(q.segments)) {
		s := segment{kind: multi}
		for _, of := range []Pattern{p, q} {
			if i < len(of.segments) && of.segments[i].kind <= s.kind {
				s = of.segments[i]
			}
		}
		e.Path += "/"
		if s.kind == literal || s.kind == wild {
			e.Path += url.PathEscape(s.text)
		}
	}
	return e.String()
}

// cut splits a path that begins with a slash into its first segment and the rest, which is empty or begins with a slash.
func cut(path string) (text, rest string) {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : i+1], path[i+1:]
	}
	return path[1:], ""
}

// notToken reports whether r may not be part of an HTTP token (RFC 9110, section 5.6.2).
func notToken(r rune) bool {
	alphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func isIdentifier(name string) bool {
	for i, r := range name {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return name != ""
}
