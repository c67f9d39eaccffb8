package kubetest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Create makes every object of some files of config/, those without a namespace
// in the given one, as kustomize does. Those that are there stay.
func Create(tb testing.TB, kube client.Client, namespace string, files ...string) {
	tb.Helper()
	for _, o := range objects(tb, files) {
		namespaced, err := kube.IsObjectNamespaced(o)
		if err != nil {
			tb.Fatal(err)
		}
		if namespaced && o.GetNamespace() == "" {
			o.SetNamespace(namespace)
		}
		if err := kube.Create(tb.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
			tb.Fatal(err)
		}
	}
}

// Rights are those that the roles in some files give: "verb resource.group".
func Rights(tb testing.TB, files ...string) sets.Set[string] {
	tb.Helper()
	out := sets.Set[string]{}
	for _, o := range objects(tb, files) {
		if o.GetKind() != "ClusterRole" && o.GetKind() != "Role" {
			continue
		}
		role := &rbacv1.ClusterRole{} // a Role has the same rules
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, role); err != nil {
			tb.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						out.Insert(right(verb, resource, group))
					}
				}
			}
		}
	}
	return out
}

func right(verb, resource, group string) string {
	if group == "" {
		return verb + " " + resource
	}
	return verb + " " + resource + "." + group
}

func objects(tb testing.TB, files []string) (out []*unstructured.Unstructured) {
	tb.Helper()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
			o := &unstructured.Unstructured{}
			err := decoder.Decode(&o.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				tb.Fatalf("%s: %v", file, err)
			}
			if len(o.Object) > 0 {
				out = append(out, o)
			}
		}
	}
	return out
}
