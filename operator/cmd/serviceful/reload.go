package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/local/deploy"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// laptopHosts makes every route answer on every host; <namespace>.localhost
// tells namespaces apart.
var laptopHosts = wiring.Hosts{Domain: "localhost", Any: true}

// read loads the manifests. Every problem is printed.
func (s *stack) read() error {
	manifests, problems := s.validator.Load(s.o.folders...)
	if report(s.o.out, problems) {
		return errReported
	}
	s.manifests = manifests
	return nil
}

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
		fmt.Fprintln(s.o.out, s.where(p))
	}
	if err := s.layout.Apply(ctx, snapshot); err != nil {
		return err
	}
	for _, failure := range s.deployer.Apply(ctx, s.deployments(functions)) {
		fmt.Fprintln(s.o.out, failure)
	}
	s.snapshot.Store(snapshot)
	if err := s.dispatcher.Apply(ctx, snapshot); err != nil {
		return err
	}
	return s.retire(ctx, snapshot)
}

// functions are the manifests' Functions, as old as this data folder knows them.
func (s *stack) functions() ([]v1alpha1.Function, error) {
	all := make([]names.Function, len(s.manifests))
	for i, m := range s.manifests {
		all[i] = m.Name()
	}
	ages, err := s.data.Ages(all, time.Now().UTC())
	if err != nil {
		return nil, err
	}
	out := make([]v1alpha1.Function, len(s.manifests))
	for i, m := range s.manifests {
		out[i] = m.Function
		out[i].CreationTimestamp = metav1.NewTime(ages[m.Name()])
	}
	return out, nil
}

func (s *stack) deployments(functions []v1alpha1.Function) []deploy.Deployment {
	out := make([]deploy.Deployment, len(functions))
	for i := range functions {
		out[i] = deploy.Deployment{Function: &functions[i], Manifest: s.manifests[i].File}
	}
	return out
}

// where is a wiring problem with the file and line of its Function.
func (s *stack) where(p wiring.Problem) string {
	for _, m := range s.manifests {
		if m.Name() == p.Function {
			return fmt.Sprintf("%s:%d: %s", m.File, m.Line, p)
		}
	}
	return p.String()
}

// retire removes the consumers of triggers that are gone. Calls that still
// waited for them become dead letters.
func (s *stack) retire(ctx context.Context, snapshot *wiring.Snapshot) error {
	namespaces, err := s.layout.Namespaces(ctx)
	if err != nil {
		return err
	}
	for _, namespace := range namespaces {
		orphans, err := s.layout.Orphans(ctx, namespace, snapshot)
		if err != nil {
			return err
		}
		for _, o := range orphans {
			buried, err := s.layout.Retire(ctx, o, time.Now())
			if err != nil {
				return err
			}
			s.log.Info("trigger removed", "function", o.Function.String(), "trigger", o.Trigger, "dead_calls", buried)
		}
	}
	return nil
}

// run says what there is, follows changes, and returns when ctx ends.
func (s *stack) run(ctx context.Context) error {
	s.wired.Store(true)
	s.introduce()
	if s.o.noWatch {
		<-ctx.Done()
	} else {
		s.deployer.Watch(ctx, func([]string) { s.reload(ctx) })
	}
	fmt.Fprintln(s.o.out, "stopping: requests and calls under way get", stopGrace, "to end (interrupt again to end now)")
	return nil
}

// reload takes changed manifests in. As long as one of them has a problem, the
// system stays as it is.
func (s *stack) reload(ctx context.Context) {
	manifests, problems := s.validator.Load(s.o.folders...)
	if report(s.o.out, problems) {
		fmt.Fprintln(s.o.out, "nothing was changed; mend the above and save")
		return
	}
	s.manifests = manifests
	if err := s.apply(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("taking changed manifests in", "error", err)
		return
	}
	fmt.Fprintln(s.o.out, "manifests taken in:", len(manifests), "functions")
}

// introduce prints where everything is.
func (s *stack) introduce() {
	snapshot := s.snapshot.Load()
	var b strings.Builder
	fmt.Fprintf(&b, "\nserviceful is ready: %d functions, all at zero until they are called\n\n", len(snapshot.Functions))
	base := "http://" + s.public.Address()
	for _, r := range sortedRoutes(snapshot) {
		how := ""
		if r.Async {
			how = "  (async)"
		}
		methods := strings.Join(r.Methods, ",")
		fmt.Fprintf(&b, "  %-12s %-8s %s%s%s\n", r.Function.Name, methods, base, r.Path, how)
	}
	fmt.Fprintf(&b, "\n  calls        %s/calls/<id>\n  mail         http://%s/v1/mail\n  data         %s\n\n", base, s.services.Address(), s.o.data)
	fmt.Fprint(s.o.out, b.String())
}

func sortedRoutes(snapshot *wiring.Snapshot) []*wiring.Route {
	return slices.SortedFunc(slices.Values(snapshot.Routes()), func(a, b *wiring.Route) int {
		return strings.Compare(a.Function.String()+" "+a.Path, b.Function.String()+" "+b.Path)
	})
}
