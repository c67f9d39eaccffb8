package wiring

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/route"
)

// Hosts says where routes answer.
type Hosts struct {
	Domain    string            // a namespace answers on <namespace>.<Domain>
	Namespace map[string]string // or on the host given here
	Any       bool              // on a host that is nobody's, every namespace answers: the laptop
}

func (h Hosts) of(namespace string) string {
	if host := h.Namespace[namespace]; host != "" {
		return strings.ToLower(host)
	}
	return namespace + "." + h.Domain
}

// Compile wires valid Functions together. Where two of them claim one thing the
// older one keeps it (creationTimestamp, then namespace and name) and the newer
// gets a Problem; everything else of it works. One that is being deleted is
// nobody's any more: nothing is sent to it. The order of functions does not
// matter.
func Compile(functions []v1alpha1.Function, hosts Hosts) *Snapshot {
	c := &compiler{
		hosts: hosts, owners: map[string]string{}, living: make(map[names.Function]bool, len(functions)), relayed: map[string]bool{}, queues: map[names.Queue]*Subscription{}, tables: map[string]*route.Builder[*Route]{}, every: &route.Builder[*Route]{},
		out: &Snapshot{Functions: make(map[names.Function]*Function, len(functions)), routes: map[string]*route.Table[*Route]{}},
	}
	living := byAge(functions)
	for _, fn := range living { // its own host is a namespace's, whoever is older
		c.owners[hosts.of(fn.Namespace)] = fn.Namespace
		c.living[nameOf(fn)] = true
	}
	for _, fn := range living {
		c.function(fn)
	}
	for host, b := range c.tables {
		c.out.routes[host] = b.Table()
	}
	if hosts.Any {
		c.out.anyHost = c.every.Table()
	}
	c.out.owners = c.owners
	slices.SortFunc(c.out.Subscriptions, func(a, b *Subscription) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Consumer, b.Consumer))
	})
	return c.out
}

// byAge are those that are not being deleted, the oldest first.
func byAge(functions []v1alpha1.Function) []*v1alpha1.Function {
	out := make([]*v1alpha1.Function, 0, len(functions))
	for i := range functions {
		if functions[i].DeletionTimestamp.IsZero() {
			out = append(out, &functions[i])
		}
	}
	slices.SortStableFunc(out, func(a, b *v1alpha1.Function) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

type compiler struct {
	hosts   Hosts
	owners  map[string]string // host -> namespace
	living  map[names.Function]bool
	relayed map[string]bool // streams that have a relay
	queues  map[names.Queue]*Subscription
	tables  map[string]*route.Builder[*Route]
	every   *route.Builder[*Route]
	out     *Snapshot
}

func (c *compiler) function(fn *v1alpha1.Function) {
	f := &Function{
		Name:    nameOf(fn),
		Emits:   fn.Spec.Emits,
		Buckets: Grants{}, Stores: Grants{}, Queues: map[string]bool{}, Calls: map[string]bool{},
		Timeout: timeout(fn),
	}
	for i, b := range fn.Spec.Bindings {
		switch {
		case b.KeyValue != nil:
			f.Buckets[b.KeyValue.Bucket] = cmp.Or(b.KeyValue.Access, v1alpha1.DefaultAccess)
		case b.Objects != nil:
			f.Stores[b.Objects.Store] = cmp.Or(b.Objects.Access, v1alpha1.DefaultAccess)
		case b.Queue != nil:
			f.Queues[b.Queue.Name] = true
		case b.Function != nil:
			f.Calls[b.Function.Name] = true
			c.callee(fn, i)
		case b.Mail != nil:
			f.Mail = true
		}
	}
	c.out.Functions[f.Name] = f
	c.mail(fn.Namespace) // for every one: mail that was accepted goes out, whoever is left
	for i := range fn.Spec.Triggers {
		t := &fn.Spec.Triggers[i]
		switch {
		case t.HTTP != nil:
			c.http(fn, f.Name, i)
		case t.Event != nil:
			c.event(fn, f.Name, i)
		case t.KeyValue != nil:
			c.keyValue(fn, f.Name, i)
		case t.Object != nil:
			c.object(fn, f.Name, i)
		case t.Queue != nil:
			c.queue(fn, f.Name, i)
		case t.Schedule != nil:
			c.schedule(fn, f.Name, i)
		}
	}
}

func nameOf(fn *v1alpha1.Function) names.Function {
	return names.Function{Namespace: fn.Namespace, Name: fn.Name}
}

// callee looks for a function that another one may call.
func (c *compiler) callee(fn *v1alpha1.Function, i int) {
	name := fn.Spec.Bindings[i].Function.Name
	if c.living[names.Function{Namespace: fn.Namespace, Name: name}] {
		return
	}
	c.out.Problems = append(c.out.Problems, Problem{
		Function: nameOf(fn), Field: fmt.Sprintf("spec.bindings[%d].function.name", i), Reason: v1alpha1.ReasonFunctionNotFound,
		Message: fmt.Sprintf("its binding names function %q, and namespace %q has none of that name", name, fn.Namespace),
	})
}

// problem says what is wrong with a trigger, and where: field is a path in it.
func (c *compiler) problem(fn *v1alpha1.Function, i int, field, reason, format string, args ...any) {
	c.out.Problems = append(c.out.Problems, Problem{
		Function: nameOf(fn), Trigger: fn.Spec.Triggers[i].Name,
		Field: fmt.Sprintf("spec.triggers[%d].%s", i, field), Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

func (c *compiler) http(fn *v1alpha1.Function, f names.Function, i int) {
	t := &fn.Spec.Triggers[i]
	r := &Route{
		Function: f, Trigger: t.Name, Path: t.HTTP.Path, Methods: t.HTTP.Methods, Async: t.HTTP.Async,
		Paused: t.Paused, Timeout: timeout(fn),
	}
	patterns, err := patterns(r)
	if err != nil {
		c.problem(fn, i, "http.path", v1alpha1.ReasonInvalidRoute, "its path %q: %v", t.HTTP.Path, err)
		return
	}
	if c.claim(fn, i, r, patterns) {
		c.out.claimed = append(c.out.claimed, r)
	}
	if t.HTTP.Async { // also without a route: calls that were accepted are made
		c.subscribe(fn, t, delivery.Call, names.Work(f.Namespace), names.CallFilter(f, t.Name))
	}
}

func patterns(r *Route) ([]route.Pattern, error) {
	methods := r.Methods
	if len(methods) == 0 {
		methods = []string{""}
	}
	out := make([]route.Pattern, 0, len(methods))
	for _, m := range methods {
		p, err := route.Parse(m, r.Path)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// claim adds the route on each of its hosts; where an older one is in the way it
// says so, and the route does not answer there.
func (c *compiler) claim(fn *v1alpha1.Function, i int, r *Route, patterns []route.Pattern) bool {
	hosts := fn.Spec.Triggers[i].HTTP.Hosts
	if len(hosts) == 0 {
		hosts = []string{c.hosts.of(fn.Namespace)}
	}
	won := false
	for j, host := range hosts {
		host = strings.ToLower(host)
		if owner, ok := c.owners[host]; ok && owner != fn.Namespace {
			c.problem(fn, i, fmt.Sprintf("http.hosts[%d]", j), v1alpha1.ReasonRouteTaken, "host %q belongs to namespace %q", host, owner)
			continue
		}
		c.owners[host] = fn.Namespace
		if c.tables[host] == nil {
			c.tables[host] = &route.Builder[*Route]{}
		}
		for _, p := range patterns {
			if older, ok := c.tables[host].Add(p, r); !ok {
				c.problem(fn, i, "http.path", v1alpha1.ReasonRouteTaken, "%s on host %q is taken by trigger %q of %s",
					describe(p), host, older.Value.Trigger, holder(older.Value, r.Function))
				continue
			}
			won = true
			if c.hosts.Any {
				c.every.Add(p, r) // another namespace's older claim on a nobody's host is no problem: it has its own
			}
		}
	}
	return won
}

// holder says whose an older route is.
func holder(older *Route, claimant names.Function) string {
	if older.Function == claimant {
		return "the same function (" + older.Path + ")"
	}
	return "function " + older.Function.String() + " (" + older.Path + "), which came first"
}

func describe(p route.Pattern) string {
	return strings.TrimSpace(cmp.Or(p.Method, "any method") + " " + p.Path)
}
