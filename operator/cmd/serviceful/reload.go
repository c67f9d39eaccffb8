package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/local/deploy"
	"github.com/serviceful/serviceful/operator/internal/manifest"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// laptopHosts makes every route answer on every host; <namespace>.localhost
// tells namespaces apart.
var laptopHosts = wiring.Hosts{Domain: "localhost", Any: true}

// apply makes the manifests that were read the system that runs, in an order in
// which nothing accepted is lost: streams and consumers before anything can be
// sent to them, programs before requests, and what is gone last.
func (s *stack) apply(ctx context.Context) error {
	functions, err := s.functions()
	if err != nil {
		return err
	}
	snapshot := wiring.Compile(functions, laptopHosts)
	for _, p := range snapshot.Problems {
		fmt.Fprintln(s.o.out, where(s.manifests, p.Function, p.Field)+p.Field+": "+p.String())
	}
	err = s.layout.Apply(ctx, snapshot)
	if s.held = errors.Is(err, bus.ErrQueueHeld); err != nil && !s.held {
		return err
	}
	for name, failure := range s.deployer.Apply(ctx, s.deployments(functions)) {
		if ctx.Err() == nil { // or it is only that everything ends
			fmt.Fprintf(s.o.out, "%sfunction %s cannot run: %s\n", where(s.manifests, name, fieldOf.FindString(failure.Detail)), name, explain(failure))
		}
	}
	for _, line := range s.gone.note(s.snapshot.Load(), snapshot, time.Now(), s.o.gone) {
		fmt.Fprintln(s.o.out, line)
	}
	s.snapshot.Store(snapshot)
	if err := s.dispatcher.Apply(ctx, snapshot); err != nil && !s.held {
		return err
	}
	return s.retire(ctx, snapshot, time.Now())
}

// handOver has triggers take over the queues whose triggers of before are retired
// by now.
func (s *stack) handOver(ctx context.Context, snapshot *wiring.Snapshot) error {
	err := s.layout.Apply(ctx, snapshot)
	if errors.Is(err, bus.ErrQueueHeld) {
		return nil // by one that may still come back
	}
	if err != nil {
		return err
	}
	s.held = false
	return s.dispatcher.Apply(ctx, snapshot)
}

// explain says why a function cannot run: all that the build said, if there was one.
func explain(failure *invoke.StartError) string {
	if len(failure.Lines) == 0 {
		return failure.Detail
	}
	return strings.Join(failure.Lines, "\n  ")
}

// functions are the manifests' Functions, as old as this data folder knows them.
// One that is gone for a moment keeps its age.
func (s *stack) functions() ([]v1alpha1.Function, error) {
	all := slices.Collect(maps.Keys(s.gone.functions))
	all = slices.AppendSeq(all, maps.Keys(s.snapshot.Load().Functions))
	for _, m := range s.manifests {
		all = append(all, m.Name())
	}
	ages, err := s.data.Ages(all, time.Now().UTC())
	if err != nil {
		return nil, err
	}
	return aged(s.manifests, ages), nil
}

// aged are the manifests' Functions with ages as their creationTimestamp.
func aged(manifests []*manifest.Manifest, ages map[names.Function]time.Time) []v1alpha1.Function {
	out := make([]v1alpha1.Function, len(manifests))
	for i, m := range manifests {
		out[i] = m.Function
		out[i].CreationTimestamp = metav1.NewTime(ages[m.Name()])
	}
	return out
}

func (s *stack) deployments(functions []v1alpha1.Function) []deploy.Deployment {
	out := make([]deploy.Deployment, len(functions))
	for i := range functions {
		out[i] = deploy.Deployment{Function: &functions[i], Manifest: s.manifests[i].File}
	}
	return out
}

// where begins a line about a field of a Function: "file:line: ".
func where(manifests []*manifest.Manifest, f names.Function, field string) string {
	for _, m := range manifests {
		if m.Name() == f {
			return fmt.Sprintf("%s:%d: ", m.File, m.LineOf(field))
		}
	}
	return ""
}

// fieldOf is the field that a reason why a function cannot run begins with, or empty.
var fieldOf = regexp.MustCompile(`^spec[^ :]*`)

// inUsePause is how long the removal of a trigger waits whose calls still end.
const inUsePause = time.Second

// retire removes the consumers of triggers that are gone, except those that may
// still come back, or whose calls still end. Calls that still waited for them become
// dead letters.
func (s *stack) retire(ctx context.Context, snapshot *wiring.Snapshot, now time.Time) error {
	next := s.gone.expire(now, s.o.gone)
	namespaces, err := s.layout.Bus.Namespaces(ctx)
	if err != nil {
		return err
	}
	for _, namespace := range namespaces {
		orphans, err := s.layout.Orphans(ctx, namespace, snapshot)
		if err != nil {
			return err
		}
		for _, o := range orphans {
			key := o.Stream + "/" + o.Consumer
			if _, ok := s.gone.triggers[key]; ok {
				continue
			}
			if o.Used == "" && s.dispatcher.Uses(key) {
				next = time.Now().Add(inUsePause)
				continue
			}
			buried, err := s.layout.Retire(ctx, o, now)
			if err != nil {
				return err
			}
			if o.Function.Name == "" {
				continue
			}
			s.log.Warn("trigger removed", "function", o.Function.String(), "trigger", o.Trigger, "dead_calls", buried)
		}
	}
	if !next.IsZero() {
		s.due.Reset(time.Until(next))
	}
	if s.held {
		return s.handOver(ctx, snapshot)
	}
	return nil
}

// retireLater retires what did not come back, each time that some of it is due.
func (s *stack) retireLater(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.due.C:
		}
		if err := s.retireDue(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("removing triggers that are gone", "error", err)
		}
	}
}

// sweepEvery is how often it is looked for what broken uploads left.
const sweepEvery = time.Hour

// sweepObjects removes what broken uploads left, of an earlier run too.
func (s *stack) sweepObjects(ctx context.Context) {
	for tick := time.NewTicker(sweepEvery); ; {
		for namespace := range s.snapshot.Load().Namespaces() {
			if _, err := s.layout.SweepObjects(ctx, namespace, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Error("removing what broken uploads left", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// retireDue looks at the manifests once more: when they are not what runs, they
// are about to be taken in, and that retires too.
func (s *stack) retireDue(ctx context.Context) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	manifests, err := readManifests(io.Discard, s.o.folders)
	if err != nil || !reflect.DeepEqual(manifests, s.manifests) {
		return nil
	}
	return s.retire(ctx, s.snapshot.Load(), time.Now())
}

// run says what there is, follows changes, and returns when ctx ends.
func (s *stack) run(ctx context.Context) error {
	s.wired.Store(true)
	s.introduce()
	var watching sync.WaitGroup
	watching.Go(func() { s.giveMemoryBack(ctx) })
	watching.Go(func() { s.guard(ctx) })
	watching.Go(func() { s.retireLater(ctx) })
	watching.Go(func() { s.sweepObjects(ctx) })
	defer watching.Wait()
	if s.o.noWatch {
		<-ctx.Done()
	} else {
		s.deployer.Watch(ctx, func([]string) { s.reload(ctx) })
	}
	fmt.Fprintln(s.o.out, "stopping: requests and calls under way get", stopGrace, "in all to end (interrupt again to end now)")
	return nil
}

// reload takes changed manifests in. As long as one of them has a problem, the
// system stays as it is.
func (s *stack) reload(ctx context.Context) {
	s.applying.Lock()
	defer s.applying.Unlock()
	manifests, err := readManifests(s.o.out, s.o.folders)
	if err != nil {
		fmt.Fprintln(s.o.out, "nothing was changed; mend the above and save")
		return
	}
	before := s.manifests
	s.manifests = manifests
	if err := s.apply(ctx); err != nil {
		s.manifests = before
		if ctx.Err() == nil {
			s.log.Error("taking changed manifests in", "error", err)
		}
		return
	}
	fmt.Fprintln(s.o.out, "manifests taken in: "+s.count())
}

// count says how many Functions there are, for a person.
func (s *stack) count() string {
	switch n := len(s.manifests); n {
	case 0:
		return noFunctions(s.o.folders)
	case 1:
		return "1 function, at zero until it is called"
	default:
		return fmt.Sprintf("%d functions, at zero until they are called", n)
	}
}

func noFunctions(folders []string) string {
	return "no Function was found in a *.yaml or *.yml file under " + strings.Join(folders, ", ")
}

// introduce prints where everything is.
func (s *stack) introduce() {
	var b strings.Builder
	fmt.Fprintf(&b, "\nserviceful is ready: %s\n\n", s.count())
	base := reachable(s.public)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range sortedRoutes(s.snapshot.Load()) {
		how := ""
		if r.Async {
			how = "  (async)"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s%s%s\n", r.Function.Name, cmp.Or(strings.Join(r.Methods, ","), "any method"), base, r.Path, how)
	}
	fmt.Fprintf(table, "\n  calls\t%s/calls/<id>\n  mail\t%s/v1/mail\n  data\t%s\n\n", base, reachable(s.services), s.o.data)
	_ = table.Flush() // into a builder
	fmt.Fprint(s.o.out, b.String())
}

func sortedRoutes(snapshot *wiring.Snapshot) []*wiring.Route {
	return slices.SortedFunc(slices.Values(snapshot.Routes()), func(a, b *wiring.Route) int {
		return strings.Compare(a.Function.String()+" "+a.Path, b.Function.String()+" "+b.Path)
	})
}
