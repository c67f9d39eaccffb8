package route

import (
	"net/url"
	"slices"
	"strings"
)

// Table finds the value whose pattern matches a request. A Builder makes it; after that it never changes, so any number
// of goroutines may read it without a lock. The zero Table matches nothing.
type Table[T any] struct {
	root *node[T]
}

// Param is what one named wildcard of a pattern matched.
type Param struct {
	Name  string
	Value string // as it stands in the request, percent-encoded; of {name...} without its leading slash
}

// node is the end of one sequence of segments; patterns that differ only in methods and names share theirs.
type node[T any] struct {
	children map[segment]*node[T] // by segment.key
	claims   []claim[T]           // one per method at most
}

// claim is one pattern of the table and its value.
type claim[T any] struct {
	pattern Pattern
	value   T
}

// Match returns the value of the most specific pattern that matches, and its parameters in the pattern's order.
// The path is percent-encoded, as (*url.URL).EscapedPath gives it; one that does not begin with a slash matches nothing.
//
// It allocates the parameters, at once, and the decoded form of a percent-encoded segment that it compares with literals.
func (t *Table[T]) Match(method, escapedPath string) (value T, params []Param, ok bool) {
	var found *claim[T]
	t.root.match(escapedPath, func(n *node[T]) bool {
		for i := range n.claims {
			c := &n.claims[i]
			if covers(c.pattern.Method, method) && (found == nil || covers(found.pattern.Method, c.pattern.Method)) {
				found = c
			}
		}
		return found == nil
	})
	if found == nil {
		return value, nil, false
	}
	return found.value, found.pattern.params(escapedPath), true
}

// Allowed returns, sorted, the methods that patterns matching the path name: the Allow header of a 405 after Match found
// nothing. It is empty when no pattern matches the path.
func (t *Table[T]) Allowed(escapedPath string) []string {
	var methods []string
	t.root.match(escapedPath, func(n *node[T]) bool {
		for _, c := range n.claims {
			if c.pattern.Method != "" {
				methods = append(methods, c.pattern.Method)
			}
		}
		return true
	})
	if slices.Contains(methods, "GET") {
		methods = append(methods, "HEAD")
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

// match yields the nodes below n that match path, the most specific first, until yield returns false; then so does match.
func (n *node[T]) match(path string, yield func(*node[T]) bool) bool {
	if n == nil {
		return true
	}
	if path == "" {
		return yield(n)
	}
	if path[0] != '/' {
		return true
	}
	text, rest := cut(path)
	switch {
	case text != "":
		if !n.literal(text).match(rest, yield) || !n.children[segment{kind: wild}].match(rest, yield) {
			return false
		}
	case rest == "":
		if !n.children[segment{kind: end}].match("", yield) {
			return false
		}
	}
	return n.children[segment{kind: multi}].match("", yield)
}

// literal returns the child for a percent-encoded literal segment, or nil.
func (n *node[T]) literal(text string) *node[T] {
	if strings.Contains(text, "%") {
		if decoded, err := url.PathUnescape(text); err == nil {
			text = decoded
		}
	}
	return n.children[segment{literal, text}]
}

// params returns what p's named wildcards stand for in a path that p matches.
func (p Pattern) params(path string) []Param {
	var params []Param
	for i, s := range p.segments {
		text, rest := cut(path)
		if s.kind == multi {
			text = path[1:]
		}
		if s.kind >= wild && s.text != "" {
			if params == nil {
				params = make([]Param, 0, len(p.segments)-i)
			}
			params = append(params, Param{s.text, text})
		}
		path = rest
	}
	return params
}
