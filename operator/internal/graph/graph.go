// Package graph draws a wiring snapshot: who emits what to whom.
//
// It is pure: a snapshot in, the edges and their text as Mermaid or DOT out. It
// imports wiring and names.
package graph

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Kind is what a node stands for.
type Kind int

// The kinds of nodes.
const (
	Function Kind = iota
	Caller        // whoever calls the public door
	Event         // an event type or pattern
	Bucket
	Store
	Queue
	Mail
	Schedule
)

// Node is a thing in the graph. Nothing but callers is shared by namespaces.
type Node struct {
	Kind      Kind
	Namespace string
	Name      string
}

// Edge leads from one node to another. A dashed one is asynchronous.
type Edge struct {
	From, To Node
	Label    string
	Dashed   bool
}

// Edges are all edges of a snapshot, in a stable order. A function that emits a
// pattern reaches every subscriber whose types it may match.
func Edges(s *wiring.Snapshot) []Edge {
	var out []Edge
	for _, r := range s.Routes() {
		out = append(out, Edge{Node{Caller, "", "HTTP"}, function(r.Function), verb(r) + " " + r.Path, r.Async})
	}
	subscribed := map[string][]string{} // by namespace
	for _, sub := range s.Subscriptions {
		if from, ok := source(sub); ok {
			out = append(out, Edge{from, function(sub.Function), sub.Trigger, true})
		}
		if s := sub.Schedule; s != nil {
			out = append(out, Edge{Node{Schedule, sub.Function.Namespace, s.Spec.String()}, function(sub.Function), sub.Trigger, true})
		}
		for _, t := range sub.Types {
			ns := sub.Function.Namespace
			subscribed[ns] = append(subscribed[ns], t)
			out = append(out, Edge{Node{Event, ns, t}, function(sub.Function), sub.Trigger, true})
		}
	}
	for _, sub := range s.Subscriptions {
		heard := subscribed[sub.Function.Namespace]
		out = append(out, outcomes(sub, sub.OnSuccess, "succeeded", heard)...)
		out = append(out, outcomes(sub, sub.OnFailure, "failed", heard)...)
	}
	for _, f := range s.Functions {
		ns := f.Name.Namespace
		for _, p := range f.Emits {
			out = append(out, leads(f.Name, p, "", subscribed[ns])...)
		}
		for bucket, access := range f.Buckets {
			out = append(out, Edge{function(f.Name), Node{Bucket, ns, bucket}, string(access), false})
		}
		for store, access := range f.Stores {
			out = append(out, Edge{function(f.Name), Node{Store, ns, store}, string(access), false})
		}
		for queue := range f.Queues {
			out = append(out, Edge{function(f.Name), Node{Queue, ns, queue}, "", true})
		}
		for name := range f.Calls {
			out = append(out, Edge{function(f.Name), Node{Function, ns, name}, "", false})
		}
		if f.Mail {
			out = append(out, Edge{function(f.Name), Node{Mail, ns, "mail"}, "", true})
		}
	}
	slices.SortStableFunc(out, func(a, b Edge) int {
		return cmp.Or(compare(a.From, b.From), compare(a.To, b.To), cmp.Compare(a.Label, b.Label))
	})
	return slices.Compact(out)
}

// source is the service that a trigger hears of, if it is not the event log.
func source(sub *wiring.Subscription) (Node, bool) {
	ns := sub.Function.Namespace
	switch {
	case sub.Relays():
		return Node{}, false
	case sub.Queue != "":
		return Node{Queue, ns, sub.Queue}, true
	case sub.Bucket != "":
		return Node{Bucket, ns, sub.Bucket}, true
	case sub.Store != "":
		return Node{Store, ns, sub.Store}, true
	}
	return Node{}, false
}

// outcomes leads from a function to where one of its triggers tells how messages
// ended.
func outcomes(sub *wiring.Subscription, to wiring.Destination, ended string, subscribed []string) []Edge {
	label := sub.Trigger + " " + ended
	switch {
	case to.EventType != "":
		return leads(sub.Function, to.EventType, label, subscribed)
	case to.Queue != "":
		return []Edge{{function(sub.Function), Node{Queue, sub.Function.Namespace, to.Queue}, label, true}}
	}
	return nil
}

// leads leads from a function to the events of a type or pattern: to the subscribed
// types that it covers or is covered by, and to itself where nobody listens. An
// edge without a label of its own has the pattern for one, where that is another.
func leads(from names.Function, pattern, label string, subscribed []string) []Edge {
	var out []Edge
	for _, t := range subscribed {
		if !names.CoversEventPattern(pattern, t) && !names.CoversEventPattern(t, pattern) {
			continue
		}
		text := label
		if text == "" && t != pattern {
			text = pattern
		}
		out = append(out, Edge{function(from), Node{Event, from.Namespace, t}, text, true})
	}
	if len(out) == 0 {
		out = append(out, Edge{function(from), Node{Event, from.Namespace, pattern}, label, true})
	}
	return out
}

func function(f names.Function) Node { return Node{Function, f.Namespace, f.Name} }

func verb(r *wiring.Route) string {
	return cmp.Or(strings.Join(r.Methods, ","), "ANY")
}

func compare(a, b Node) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// layout is the nodes of the edges in a stable order, each with a short name of
// its own and a label: its name, with the namespace where there are several.
type layout struct {
	nodes   []Node
	id      map[Node]string
	several bool
}

func arrange(edges []Edge) layout {
	l := layout{id: map[Node]string{}}
	namespaces := map[string]bool{}
	for _, e := range edges {
		l.id[e.From], l.id[e.To] = "", ""
		namespaces[e.To.Namespace] = true
	}
	l.several = len(namespaces) > 1
	l.nodes = slices.SortedFunc(maps.Keys(l.id), compare)
	for i, n := range l.nodes {
		l.id[n] = fmt.Sprintf("n%d", i)
	}
	return l
}

func (l layout) label(n Node) string {
	if l.several && n.Namespace != "" {
		return n.Namespace + "/" + n.Name
	}
	return n.Name
}

// Mermaid writes the edges as a Mermaid flowchart.
func Mermaid(w io.Writer, edges []Edge) error {
	shapes := map[Kind][2]string{Function: {"[", "]"}, Caller: {"([", "])"}, Event: {"{{", "}}"}, Bucket: {"[(", ")]"}, Store: {"[/", "/]"}, Queue: {"[[", "]]"}, Mail: {">", "]"}, Schedule: {"((", "))"}}
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	l := arrange(edges)
	for _, n := range l.nodes {
		s := shapes[n.Kind]
		fmt.Fprintf(&b, "  %s%s\"%s\"%s\n", l.id[n], s[0], l.label(n), s[1])
	}
	for _, e := range edges {
		arrow := "-->"
		if e.Dashed {
			arrow = "-.->"
		}
		if e.Label != "" {
			arrow += `|"` + e.Label + `"|`
		}
		fmt.Fprintf(&b, "  %s %s %s\n", l.id[e.From], arrow, l.id[e.To])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// DOT writes the edges in Graphviz's language.
func DOT(w io.Writer, edges []Edge) error {
	shapes := map[Kind]string{Function: "box", Caller: "oval", Event: "hexagon", Bucket: "cylinder", Store: "folder", Queue: "cds", Mail: "note", Schedule: "circle"}
	var b strings.Builder
	b.WriteString("digraph serviceful {\n  rankdir=LR;\n")
	l := arrange(edges)
	for _, n := range l.nodes {
		fmt.Fprintf(&b, "  %s [label=%q, shape=%s];\n", l.id[n], l.label(n), shapes[n.Kind])
	}
	for _, e := range edges {
		style := "solid"
		if e.Dashed {
			style = "dashed"
		}
		fmt.Fprintf(&b, "  %s -> %s [label=%q, style=%s];\n", l.id[e.From], l.id[e.To], e.Label, style)
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}
