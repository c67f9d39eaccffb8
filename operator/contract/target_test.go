package contract

import (
	"fmt"
	"strings"
	"testing"
)

// namespace is where everything of a run is; the cluster adds a number.
const namespace = "contract"

// target is a running Serviceful that clauses are tested on.
type target interface {
	// name is what the table calls it.
	name() string
	// ns is the namespace of this run.
	ns() string
	// door is the public door's base URL. It takes every route of the namespace.
	door() string
	// apply makes Functions run, or changes them. It returns when that is so, or at
	// once for those that cannot be ready.
	apply(t *testing.T, ready bool, functions ...function)
	// remove removes a Function, and returns when nobody can call it any more.
	remove(t *testing.T, name string)
	// refuse is why a Function is not taken in.
	refuse(t *testing.T, f function) string
	// problem is what is said of a Function that could not be wired as it wishes.
	problem(t *testing.T, name string) string
	// mails are the mails that were handed over, as a text each.
	mails(t *testing.T) []string
	// crash ends what carries messages at once, without asking it, and brings it back.
	crash(t *testing.T)
	// command runs the command line against it.
	command(t *testing.T, args ...string) (string, error)
}

// function is a Function of the stub.
type function struct {
	name string
	spec string // YAML: what it has in its spec beside its image
}

// manifest writes a Function; annotations and env are YAML.
func (f function) manifest(ns, image, annotations string, env ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {name: %s, namespace: %s, annotations: {%s}}\nspec:\n  image: %s\n  env:\n", f.name, ns, annotations, image)
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&b, "  - {name: %s, value: %q}\n", name, value)
	}
	for line := range strings.Lines(strings.TrimSpace(f.spec)) {
		b.WriteString("  " + line)
	}
	return b.String() + "\n"
}
