// Package manifest says what is deployed on a new cluster, as values: DNS, an
// ingress, and Knative Serving as its own modules describe it. It talks to no
// cluster and imports nothing of this module.
package manifest

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"
)

//go:embed files
var files embed.FS

// Values are what the manifests differ in from cluster to cluster.
type Values struct {
	Images     map[string]string // the name of each image by that of its program
	DNS        string            // the address of the cluster's DNS
	Ingress    string            // the address of the ingress
	Domain     string            // the domain of functions
	Registry   string            // whose tags are taken as they are
	Serving    string            // the folder of module knative.dev/serving
	Networking string            // the folder of module knative.dev/networking
	Caching    string            // the folder of module knative.dev/caching
}

// Object is one Kubernetes object.
type Object map[string]any

// All returns the objects in the order in which they can be applied: first those
// that others need to exist, then the others.
func All(v Values) (first, then []Object, err error) {
	var objects []Object
	for _, source := range []func(Values) ([]Object, error){knative, own} {
		some, err := source(v)
		if err != nil {
			return nil, nil, err
		}
		objects = append(objects, some...)
	}
	for _, o := range objects {
		switch o["kind"] {
		case "Namespace", "CustomResourceDefinition":
			first = append(first, o)
		default:
			then = append(then, o)
		}
	}
	return first, then, nil
}

// Encode writes objects as the documents of one YAML stream.
func Encode(objects []Object) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "---\n%s", text)
	}
	return out.Bytes(), nil
}

// own returns the objects of files.
func own(v Values) ([]Object, error) {
	templates, err := template.ParseFS(files, "files/*.yaml")
	if err != nil {
		return nil, err
	}
	var objects []Object
	for _, t := range templates.Templates() {
		var text bytes.Buffer
		if err := t.Execute(&text, v); err != nil {
			return nil, err
		}
		some, err := decode(text.String())
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", t.Name(), err)
		}
		objects = append(objects, some...)
	}
	return objects, nil
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

func decode(text string) ([]Object, error) {
	var objects []Object
	for _, document := range separator.Split(text, -1) {
		var o Object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			return nil, err
		}
		if o != nil {
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// read returns the text of every YAML file below a folder but those left out.
func read(folder string, leaveOut ...string) (string, error) {
	var all strings.Builder
	err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(file) != ".yaml" {
			return err
		}
		for _, name := range leaveOut {
			if filepath.Base(file) == name {
				return nil
			}
		}
		text, err := os.ReadFile(file)
		fmt.Fprintf(&all, "---\n%s\n", text)
		return err
	})
	return all.String(), err
}
