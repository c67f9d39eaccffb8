package services

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// The headers by which a called function knows who calls, and how many calls of
// functions led to this one. A function that passes HeaderHops on is kept from
// calling itself without an end.
const (
	HeaderCaller = "Serviceful-Caller"
	HeaderHops   = invoke.HeaderHops
)

// callFunction takes a request to another function of the namespace, now:
// /v1/functions/{name}/{path...}. The function sees it as a caller of its own,
// at the path behind its name, without the token.
func (d *Door) callFunction(w http.ResponseWriter, r *http.Request, c caller) error {
	name := c.params["name"]
	if !c.Calls[name] {
		return c.notBound(functionBinding, name)
	}
	callee := d.cfg.Snapshot().Functions[names.Function{Namespace: c.Name.Namespace, Name: name}]
	if callee == nil {
		return serve.NewProblem(http.StatusNotFound, "no-such-function", "namespace %q has no function %q", c.Name.Namespace, name)
	}
	hops, err := hopsOf(r.Header)
	if err != nil {
		return err
	}
	if hops > delivery.MaxHops {
		return serve.NewProblem(http.StatusLoopDetected, "too-many-hops",
			"%d calls of functions led to this one, and no more than %d may: see which functions call each other in a circle", hops-1, delivery.MaxHops)
	}
	target, err := url.ParseRequestURI(targetOf(r.URL))
	if err != nil {
		return serve.NewProblem(http.StatusBadRequest, "malformed-path", "%v", err)
	}
	invoke.DropOurs(r.Header)
	delete(r.Header, "Authorization")
	r.Header[HeaderCaller] = []string{c.Name.Name}
	r.Header[HeaderHops] = []string{strconv.Itoa(max(1, hops))}
	r.URL = target
	return d.cfg.Call(w, r, callee.Name, callee.Timeout)
}

// hopsOf is the hops of what a request leads to: one more than those of what its
// function was called with. Where it does not pass HeaderHops on they are not
// known: 0.
func hopsOf(h http.Header) (int, error) {
	s := h.Get(HeaderHops)
	if s == "" {
		return 0, nil
	}
	hops, err := strconv.Atoi(s)
	if err != nil || hops < 0 {
		return 0, serve.NewProblem(http.StatusBadRequest, "malformed-hops", "%s %q: pass on what the function was called with", HeaderHops, s)
	}
	return min(hops, delivery.MaxHops) + 1, nil // what is too many stays so
}

// targetOf is the path behind /v1/functions/{name}, percent-encoded as it came,
// and the query.
func targetOf(u *url.URL) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/v1/functions/"), "/")
	target := "/" + rest
	if u.RawQuery != "" || u.ForceQuery {
		target += "?" + u.RawQuery
	}
	return target
}
