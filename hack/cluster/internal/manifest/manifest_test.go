package manifest

import (
	"strings"
	"testing"

	"github.com/serviceful/serviceful/hack/cluster/internal/build"
)

func folder(t *testing.T, module string) string {
	t.Helper()
	found, err := build.Builder{Source: "../.."}.ModuleFolder(t.Context(), "knative", module)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestManifestsAreWhole(t *testing.T) {
	images := map[string]string{}
	for _, name := range []string{"coredns", "traefik", "knative-activator", "knative-autoscaler", "knative-controller", "knative-queue", "knative-webhook"} {
		images[name] = "registry.test/" + name
	}
	first, then, err := All(Values{
		Images: images, DNS: "198.19.0.10", Ingress: "198.19.0.80", Domain: "serviceful.test", Registry: "registry.test",
		Serving: folder(t, "knative.dev/serving"), Networking: folder(t, "knative.dev/networking"), Caching: folder(t, "knative.dev/caching"),
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(append(first, then...))
	if err != nil {
		t.Fatal(err)
	}
	for name, image := range images {
		if !strings.Contains(string(text), image) {
			t.Errorf("no object has the image %s", name)
		}
	}
	for _, never := range []string{"ko://", "<no value>", "HorizontalPodAutoscaler"} {
		if strings.Contains(string(text), never) {
			t.Errorf("the manifests have %q", never)
		}
	}
	for _, want := range []string{
		"ingress-class: traefik.ingress.networking.knative.dev",
		"queue-sidecar-image: registry.test/knative-queue",
		"registries-skipping-tag-resolving: registry.test",
		"name: ingresses.networking.internal.knative.dev",
		"name: images.caching.internal.knative.dev",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the manifests lack %q", want)
		}
	}
	for _, o := range first {
		if o["kind"] != "Namespace" && o["kind"] != "CustomResourceDefinition" {
			t.Errorf("%v comes first", o["kind"])
		}
	}
}
