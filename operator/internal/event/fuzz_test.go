package event

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

func FuzzEncode(f *testing.F) {
	for _, s := range []string{"", "a b", "%20", "€", "\xff\x00", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		encoded := Encode(s)
		if got := Decode(encoded); got != s {
			t.Errorf("%q is encoded as %q and decoded as %q", s, encoded, got)
		}
		if strings.ContainsFunc(encoded, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
			t.Errorf("%q is encoded as %q", s, encoded)
		}
	})
}

// FuzzFromHTTP reads events from headers, one "Name: value" to a line, and a
// body. What is accepted is valid for the CloudEvents SDK too, and comes back
// from where it is stored as it was.
func FuzzFromHTTP(f *testing.F) {
	lines := func(h http.Header) string {
		var b strings.Builder
		_ = h.Write(&b)
		return b.String()
	}
	f.Add(lines(binary("Ce-Time", "2026-01-02T03:04:05.6Z", "Ce-Subject", "a%20b", "Ce-Ext", "x", "Content-Type", "text/plain")), []byte("hi"))
	f.Add(lines(binary("Ce-Dataschema", "http://x/y%2Fz", "Ce-Source", "urn:x?a#b")), []byte{0xff})
	f.Add(lines(binary("Ce-Id", "%20")), []byte{})
	f.Add(lines(binary("Ce-Id", "%00", "Ce-Source", "http://h%41st/")), []byte{})
	f.Add(lines(binary("Ce-Source", "%20", "Ce-Subject", "%09")), []byte{})
	f.Add(lines(contentType(ContentTypeJSON)), []byte(structured(`"data":{"a":[1]}`, `"n":-1,"b":true,"z":null`, `"subject":"é"`)))
	f.Add(lines(contentType(ContentTypeJSON)), []byte(structured(`"data_base64": "aGk="`, `"datacontenttype":"image/png"`, `"time":"2026-01-02T03:04:05+01:00"`)))
	f.Add(lines(contentType(ContentTypeJSON+"; charset=utf-8")), []byte(structured(`"data":"x"`, `"datacontenttype":"text/plain"`)))
	f.Add(lines(contentType(ContentTypeBatch)), []byte("["+structured()+","+strings.Replace(structured(), `"1"`, `"2"`, 1)+"]"))
	f.Fuzz(func(t *testing.T, headers string, body []byte) {
		h := http.Header{}
		for line := range strings.Lines(headers) {
			if key, value, ok := strings.Cut(line, ":"); ok {
				h.Add(key, strings.Trim(value, " \t\r\n"))
			}
		}
		events, err := FromHTTP(h, body)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || len(events) != 0 {
				t.Errorf("the error %v comes with %d events", err, len(events))
			}
			return
		}
		for _, e := range events {
			checkAccepted(t, e)
		}
		if !isCloudEvents(h.Get("Content-Type")) {
			compareWithSDK(t, h, body, events[0])
		}
	})
}

func checkAccepted(t *testing.T, e *Event) {
	if err := e.Validate(); err != nil {
		t.Errorf("%v was accepted: %v", e.Attributes, err)
	}
	if back := stored(e); !slices.Equal(sorted(back.Attributes), sorted(e.Attributes)) || !bytes.Equal(back.Data, e.Data) {
		t.Errorf("%v came back as %v", e, back)
	}
	ce, err := e.SDK()
	if err == nil {
		err = ce.Validate()
	}
	if err != nil {
		t.Errorf("the SDK refuses %v: %v", e.Attributes, err)
	}
}

// compareWithSDK reads the same request with the SDK, which leaves values
// encoded.
func compareWithSDK(t *testing.T, h http.Header, body []byte, e *Event) {
	ce, err := binding.ToEvent(t.Context(), cehttp.NewMessage(h, io.NopCloser(bytes.NewReader(body))))
	if err == nil {
		err = ce.Validate()
	}
	if err != nil {
		t.Errorf("the SDK refuses %v: %v", h, err)
		return
	}
	extensions := map[string]any{}
	for _, a := range e.Attributes {
		if !defined(a.Name) {
			extensions[a.Name] = a.Value
		}
	}
	if !maps.Equal(ce.Extensions(), extensions) {
		t.Errorf("the SDK reads the extensions %v, we %v", ce.Extensions(), extensions)
	}
	theirs := []string{ce.ID(), ce.Type(), ce.Subject(), ce.DataContentType(), string(ce.Data())}
	ours := []string{e.ID(), e.Type(), e.Get("subject"), e.Get("datacontenttype"), string(e.Data)}
	if !slices.Equal(theirs, ours) {
		t.Errorf("the SDK reads %q, we %q", theirs, ours)
	}
}
