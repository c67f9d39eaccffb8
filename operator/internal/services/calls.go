package services

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// The headers by which a called function knows who calls, and how many calls of
// functions led to this one. A function that passes HeaderHops on is kept from
// calling itself without an end.
const (
	HeaderCaller = "Serviceful-Caller"
	HeaderHops   = "Serviceful-Hops"
)

// maxHops is how many calls of functions may lead to each other.
const maxHops = 16

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
	target, err := url.ParseRequestURI(targetOf(r.URL))
	if err != nil {
		return serve.NewProblem(http.StatusBadRequest, "malformed-path", "%v", err)
	}
	invoke.DropOurs(r.Header)
	delete(r.Header, "Authorization")
	r.Header[HeaderCaller] = []string{c.Name.Name}
	r.Header[HeaderHops] = []string{strconv.Itoa(hops + 1)}
	r.URL = target
	return d.cfg.Call(w, r, callee.Name, callee.Timeout)
}

// hopsOf reads how many calls led to the one that makes this one.
func hopsOf(h http.Header) (int, error) {
	s := h.Get(HeaderHops)
	if s == "" {
		return 0, nil
	}
	hops, err := strconv.Atoi(s)
	if err != nil || hops < 0 {
		return 0, serve.NewProblem(http.StatusBadRequest, "malformed-hops", "%s %q: pass on what the function was called with", HeaderHops, s)
	}
	if hops >= maxHops {
		return 0, serve.NewProblem(http.StatusLoopDetected, "too-many-hops",
			"%d calls of functions led to this one, and no more than %d may: see which functions call each other in a circle", hops, maxHops)
	}
	return hops, nil
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
