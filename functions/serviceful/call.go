package serviceful

import (
	"context"
	"io"
	"net/http"
	"net/url"
)

// passedOn are the headers by which the platform knows what led to a call.
var passedOn = []string{"Traceparent", "Tracestate", "Serviceful-Hops"}

type causeKey struct{}

// withCause is the context of a request, which knows what led to it.
func withCause(r *http.Request) context.Context {
	cause := http.Header{}
	for _, name := range passedOn {
		if values := r.Header.Values(name); len(values) > 0 {
			cause[name] = values
		}
	}
	return context.WithValue(r.Context(), causeKey{}, cause)
}

// passOn tells the platform what led to a request, as far as its context knows.
func passOn(ctx context.Context, header http.Header) {
	if cause, ok := ctx.Value(causeKey{}).(http.Header); ok {
		for name, values := range cause {
			header[name] = values
		}
	}
}

// Call makes a request to another function of the namespace, now: target is its path and query, beginning with a slash. What it
// answers is returned whatever its status is, and its body is the caller's to close. ctx bounds all of it; one of a request that
// Handle handed over tells the platform what led to the call, so that functions that call each other in a circle come to an end.
func (c *Client) Call(ctx context.Context, function, method, target string, header http.Header, body io.Reader) (*http.Response, error) {
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	passOn(ctx, header)
	return c.send(ctx, method, c.config.URL+"/v1/functions/"+url.PathEscape(function)+target, header, body)
}
