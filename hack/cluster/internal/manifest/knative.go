package manifest

import (
	"fmt"
	"path/filepath"
	"strings"
)

// knative returns Knative Serving as its modules describe it. Files that stand
// as symbolic links in its repository are missing from its module and come from
// the modules that the links lead to.
func knative(v Values) ([]Object, error) {
	core, err := read(filepath.Join(v.Serving, "config", "core"),
		"activator-hpa.yaml", "webhook-hpa.yaml", // one replica of each, always
		"300-knativecertificate.yaml", // nothing here issues certificates
	)
	if err != nil {
		return nil, fmt.Errorf("reading the manifests of Knative Serving: %w", err)
	}
	networking, err := read(filepath.Join(v.Networking, "config"))
	if err != nil {
		return nil, fmt.Errorf("reading the manifests of Knative's networking: %w", err)
	}
	caching, err := read(filepath.Join(v.Caching, "config"))
	if err != nil {
		return nil, fmt.Errorf("reading the manifests of Knative's caching: %w", err)
	}
	text := core + networking + caching
	for _, name := range []string{"activator", "autoscaler", "controller", "queue", "webhook"} {
		text = strings.ReplaceAll(text, "ko://knative.dev/serving/cmd/"+name, v.Images["knative-"+name])
	}
	objects, err := decode(text)
	if err != nil {
		return nil, err
	}
	settings := map[string]map[string]string{
		"config-network":    {"ingress-class": "traefik.ingress.networking.knative.dev"},
		"config-domain":     {v.Domain: ""},
		"config-deployment": {"registries-skipping-tag-resolving": v.Registry},
	}
	for _, o := range objects {
		if o["kind"] == "ConfigMap" {
			set(o, settings)
		}
	}
	return objects, nil
}

// set adds to a ConfigMap the settings meant for it.
func set(configMap Object, settings map[string]map[string]string) {
	metadata, _ := configMap["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	data, ok := configMap["data"].(map[string]any)
	if !ok {
		data = map[string]any{}
		configMap["data"] = data
	}
	for key, value := range settings[name] {
		data[key] = value
	}
}
