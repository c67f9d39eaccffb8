package invoke

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// The headers that a function gets besides the message's own.
const (
	HeaderTrigger = "Serviceful-Trigger"
	HeaderAttempt = "Serviceful-Attempt"
	HeaderCallID  = "Serviceful-Call-Id"
	HeaderHops    = event.HeaderHops
	HeaderPath    = "Serviceful-Path-" // and the name of the path parameter
)

// EventRequest is an event as a POST to a function's path (percent-encoded), in
// binary mode. attempt counts the calls, this one included.
func EventRequest(ctx context.Context, e *event.Event, path, trigger string, attempt int) *http.Request {
	h := make(http.Header, len(e.Attributes)+3)
	for _, a := range e.Attributes {
		h[http.CanonicalHeaderKey(event.HeaderName(a.Name))] = []string{a.Value}
	}
	h[HeaderTrigger] = []string{trigger}
	h[HeaderAttempt] = []string{strconv.Itoa(attempt)}
	h[HeaderHops] = []string{strconv.Itoa(e.Hops)}
	return request(ctx, http.MethodPost, pathOf(path), h, e.Data)
}

// BatchRequest is events as one POST to a function's path, in the JSON batch
// format. attempt is the highest of them, as the hops are.
func BatchRequest(ctx context.Context, events []*event.Event, path, trigger string, attempt int) *http.Request {
	hops := 0
	for _, e := range events {
		hops = max(hops, e.Hops)
	}
	h := http.Header{
		"Content-Type": {event.ContentTypeBatch}, HeaderTrigger: {trigger}, HeaderAttempt: {strconv.Itoa(attempt)}, HeaderHops: {strconv.Itoa(hops)},
	}
	return request(ctx, http.MethodPost, pathOf(path), h, event.ToBatch(events))
}

// pathOf is a URL of a path, percent-encoded.
func pathOf(path string) *url.URL {
	u := &url.URL{Scheme: "http", Path: path}
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = decoded, path
	}
	return u
}

// Stored is a request, without its body, in the form that CallRequest makes a
// request of again.
func Stored(r *http.Request, params map[string]string) envelope.Request {
	return envelope.Request{
		Method: r.Method, Target: text(r.URL.RequestURI()), Host: r.Host, Header: mapValues(r.Header, text), Params: params,
	}
}

// CallRequest is a stored request as it came, with the headers that tell the
// function which call and which attempt it is.
func CallRequest(ctx context.Context, r envelope.Request, body []byte, trigger, id string, attempt int) (*http.Request, error) {
	target, err := url.ParseRequestURI(octets(r.Target))
	if err != nil {
		return nil, fmt.Errorf("reading the target of a stored request: %w", err)
	}
	target.Scheme = "http"
	h := mapValues(r.Header, octets)
	SetParams(h, trigger, r.Params)
	h[HeaderCallID] = []string{id}
	h[HeaderAttempt] = []string{strconv.Itoa(attempt)}
	h[HeaderHops] = []string{"0"} // a caller outside is a first cause
	req := request(ctx, r.Method, target, h, body)
	req.Host = r.Host
	return req, nil
}

// text writes octets as characters of the same number (ISO 8859-1): the form is
// JSON, which holds characters only, and queries and headers may be any octets.
func text(s string) string {
	if isASCII(s) {
		return s
	}
	characters := make([]rune, len(s))
	for i := range len(s) {
		characters[i] = rune(s[i])
	}
	return string(characters)
}

// octets is the inverse of text.
func octets(s string) string {
	if isASCII(s) {
		return s
	}
	out := make([]byte, 0, len(s))
	for _, c := range s {
		out = append(out, byte(c))
	}
	return string(out)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func mapValues(h http.Header, f func(string) string) http.Header {
	out := make(http.Header, len(h)+4)
	for key, values := range h {
		mapped := make([]string, len(values))
		for i, v := range values {
			mapped[i] = f(v)
		}
		out[key] = mapped
	}
	return out
}

// SetParams tells a function which trigger it is called by, and the path
// parameters, percent-encoded as they came. A call by another function has no
// trigger.
func SetParams(h http.Header, trigger string, params map[string]string) {
	if trigger != "" {
		h[HeaderTrigger] = []string{trigger}
	}
	for name, value := range params {
		h.Set(HeaderPath+name, value)
	}
}

func request(ctx context.Context, method string, u *url.URL, h http.Header, body []byte) *http.Request {
	req := (&http.Request{
		Method: method, URL: u, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody, ContentLength: int64(len(body)),
	}).WithContext(ctx)
	if len(body) > 0 {
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	return req
}

// Ours reports whether a header is the platform's own, which nobody outside may
// set: Serviceful-* and Nats-*, and those by which the parts of Knative talk to
// each other (knative.dev/networking/pkg/http/header), on a laptop too.
func Ours(key string) bool {
	switch key {
	case "K-Network-Hash", "K-Network-Probe", "K-Proxy-Request", "K-Original-Host", "K-Kubelet-Probe", "K-Passthrough-Lb":
		return true
	}
	return begins(key, "Serviceful") || begins(key, "Nats") || begins(key, "Knative-Serving")
}

// DropOurs removes the headers that only the platform may set.
func DropOurs(h http.Header) {
	for key := range h {
		if Ours(key) {
			delete(h, key)
		}
	}
}

// begins reports whether a header begins with a word and a dash. An underscore
// counts as one: servers that hand headers on as variables (CGI, WSGI) cannot
// tell them apart.
func begins(key, word string) bool {
	n := len(word)
	return len(key) > n && (key[n] == '-' || key[n] == '_') && strings.EqualFold(key[:n], word)
}
