package services

import (
	"net/http"

	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// binding is a kind of binding, for messages: what it binds, and where the name
// of that stands.
type binding struct{ what, kind, field string }

var (
	bucketBinding   = binding{"bucket", "keyValue", "bucket"}
	storeBinding    = binding{"object store", "objects", "store"}
	queueBinding    = binding{"queue", "queue", "name"}
	functionBinding = binding{"function", "function", "name"}
)

func (c caller) notBound(b binding, name string) error {
	return serve.NewProblem(http.StatusForbidden, "not-bound",
		"function %s has no binding for %s %q: add {%s: {%s: %s}} to spec.bindings", c.Name, b.what, name, b.kind, b.field, name)
}

// mayUse says why the caller may not use what is named, if it may not.
func (c caller) mayUse(b binding, grants wiring.Grants, name string, write bool) error {
	if !grants.MayRead(name) {
		return c.notBound(b, name)
	}
	if write && !grants.MayWrite(name) {
		return serve.NewProblem(http.StatusForbidden, "read-only", "function %s may only read %s %q: its binding says access: Read", c.Name, b.what, name)
	}
	return nil
}
