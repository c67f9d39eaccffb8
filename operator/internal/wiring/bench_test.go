package wiring

import (
	"fmt"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// many is n Functions with three triggers each, in namespaces of size.
func many(n, size int) []v1alpha1.Function {
	out := make([]v1alpha1.Function, n)
	for i := range out {
		path := []string{"/service-%d/{id}", "/members/{number}/things-%d", "/v1/area-%d/{rest...}"}[i%3]
		out[i] = fn(fmt.Sprintf("team-%d/function-%d", i/size, i), n-i,
			syncHTTP("show", fmt.Sprintf("GET "+path, i)),
			asyncHTTP("order", fmt.Sprintf("POST /orders-%d/{order}/lines", i)),
			onEvent("changed", fmt.Sprintf("team.thing-%d.changed.v1", i), "team.log.*"))
		out[i].Spec.Emits = []string{fmt.Sprintf("team.thing-%d.changed.v1", i)}
		out[i].Spec.Bindings = []v1alpha1.Binding{bucket("things", ""), {Mail: &v1alpha1.MailBinding{}}}
	}
	return out
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		for _, size := range []int{10, n} {
			name := fmt.Sprintf("functions=%d", n)
			if size < n {
				name += fmt.Sprintf(",in_namespaces_of=%d", size)
			}
			b.Run(name, func(b *testing.B) {
				functions := many(n, size)
				b.ReportAllocs()
				for b.Loop() {
					if s := Compile(functions, laptop); len(s.Problems) > 0 || len(s.Routes()) != 2*n {
						b.Fatalf("%d routes and the problems %v", len(s.Routes()), s.Problems)
					}
				}
			})
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	s := Compile(many(10_000, 10_000), laptop)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := s.Match("127.0.0.1:8080", "GET", "/members/633174/things-7777"); !ok {
			b.Fatal("no route")
		}
	}
}
