package route

import "slices"

// Builder collects patterns for a Table. The zero Builder is ready to use, by one goroutine at a time.
type Builder[T any] struct {
	root *node[T]
	at   map[place[T]][]*node[T]
}

// place keys the index that keeps Add from looking below every literal child of a node where a wildcard is added. Under
// depth 0 it lists a node's literal children in the order they came; under a depth and a segment, those that hold that
// segment so far below them (some perhaps repeatedly).
type place[T any] struct {
	node    *node[T]
	depth   int
	segment segment
}

// Conflict is the claim that kept a pattern out of a Builder.
type Conflict[T any] struct {
	Pattern Pattern
	Value   T
	How     string // completes a sentence that begins with the refused pattern
}

// Add claims p for value, and ok reports whether it could. A pattern that matches the same requests as an earlier one, or
// some of them while neither is the more specific, is left out: exactly those that make ServeMux panic. The earlier
// one that is returned depends only on what was added and in which order.
//
// The time it takes grows with the claims that p overlaps, not with all there are.
func (b *Builder[T]) Add(p Pattern, value T) (c Conflict[T], ok bool) {
	if b.root == nil {
		*b = Builder[T]{root: &node[T]{}, at: map[place[T]][]*node[T]{}}
	}
	ok = b.overlapping(b.root, p.segments, func(n *node[T]) bool {
		for _, earlier := range n.claims {
			if how := conflict(p, earlier.pattern); how != "" {
				c = Conflict[T]{earlier.pattern, earlier.value, how}
				return false
			}
		}
		return true
	})
	if ok {
		b.insert(p, value)
	}
	return c, ok
}

// Table returns the table of all that was added, and leaves the Builder empty.
func (b *Builder[T]) Table() *Table[T] {
	t := &Table[T]{root: b.root}
	*b = Builder[T]{}
	return t
}

// overlapping yields the nodes below n that match some path that segments match too, until yield returns false; then so
// does overlapping.
func (b *Builder[T]) overlapping(n *node[T], segments []segment, yield func(*node[T]) bool) bool {
	if n == nil {
		return true
	}
	if len(segments) == 0 {
		return yield(n)
	}
	wildChild, multiChild := n.children[segment{kind: wild}], n.children[segment{kind: multi}]
	s, rest := segments[0].key(), segments[1:]
	if s.kind == multi {
		others := []*node[T]{n.children[segment{kind: end}], wildChild, multiChild}
		for _, c := range slices.Concat(b.literals(n, nil), others) {
			if c != nil && (!yield(c) || !b.overlapping(c, segments, yield)) {
				return false
			}
		}
		return true
	}
	if multiChild != nil && !yield(multiChild) {
		return false
	}
	switch s.kind {
	case literal:
		if !b.overlapping(wildChild, rest, yield) {
			return false
		}
	case wild:
		for _, c := range b.literals(n, rest) {
			if !b.overlapping(c, rest, yield) {
				return false
			}
		}
	}
	return b.overlapping(n.children[s], rest, yield)
}

// literals returns the literal children of n below which something may overlap rest: all, or fewer if the most selective
// segment of rest rules some out.
func (b *Builder[T]) literals(n *node[T], rest []segment) []*node[T] {
	best := b.at[place[T]{node: n}]
	var covering []*node[T] // have a multi wildcard at the depth looked at, or above it
	for i, s := range rest {
		covering = append(covering, b.at[place[T]{n, i + 1, segment{kind: multi}}]...)
		if s.kind >= wild {
			continue
		}
		same, wilds := b.at[place[T]{n, i + 1, s}], b.at[place[T]{n, i + 1, segment{kind: wild}}]
		if len(same)+len(wilds)+len(covering) < len(best) {
			best = slices.Concat(same, wilds, covering)
		}
	}
	return best
}

func (b *Builder[T]) insert(p Pattern, value T) {
	n, trail := b.root, make([]*node[T], 1, len(p.segments)+1)
	trail[0] = n
	for i, s := range p.segments {
		child := n.children[s.key()]
		if child == nil {
			child = &node[T]{}
			if n.children == nil {
				n.children = map[segment]*node[T]{}
			}
			n.children[s.key()] = child
			b.index(p.segments[:i+1], append(trail, child))
		}
		n, trail = child, append(trail, child)
	}
	n.claims = append(n.claims, claim[T]{p, value})
}

// index records the new node that ends the trail along segments.
func (b *Builder[T]) index(segments []segment, trail []*node[T]) {
	last := len(segments) - 1
	for i, s := range segments {
		if s.kind != literal {
			continue
		}
		key := place[T]{node: trail[i]}
		if i < last {
			key = place[T]{trail[i], last - i, segments[last].key()}
		}
		b.at[key] = append(b.at[key], trail[i+1])
	}
}
