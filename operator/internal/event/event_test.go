package event

import (
	"slices"
	"strings"
	"testing"
)

func TestGetAndSet(t *testing.T) {
	e := &Event{}
	e.Set("id", "1")
	e.Set("source", "/s")
	e.Set("type", "a.b")
	e.Set("id", "2")
	want := []Attribute{{"id", "2"}, {"source", "/s"}, {"type", "a.b"}}
	if !slices.Equal(e.Attributes, want) || e.ID() != "2" || e.Source() != "/s" || e.Type() != "a.b" || e.Get("none") != "" {
		t.Errorf("got %v, want %v", e.Attributes, want)
	}
}

// TestValidateCountsHeaders has an event of very many short attributes refused:
// their headers would not fit into a stored message.
func TestValidateCountsHeaders(t *testing.T) {
	e := &Event{Attributes: []Attribute{{"specversion", "1.0"}, {"id", "1"}, {"source", "s"}, {"type", "t"}}}
	for _, a := range "abcdefghijklmnopqrstuvwxyz" {
		for _, b := range "abcdefghijklmnopqrstuvwxyz" {
			for _, c := range "abcde" {
				e.Set(string([]rune{a, b, c}), "")
			}
		}
	}
	if err := e.Validate(); err == nil || !strings.Contains(err.Error(), "more than 32768") {
		t.Errorf("an event of %d attributes: %v", len(e.Attributes), err)
	}
	e.Attributes = e.Attributes[:3000]
	if err := e.Validate(); err != nil {
		t.Errorf("an event of %d attributes: %v", len(e.Attributes), err)
	}
}

func TestKey(t *testing.T) {
	key := func(source, id string) string {
		return (&Event{Attributes: []Attribute{{"source", source}, {"id", id}}}).Key()
	}
	if first, second := key("/a", "1"), key("/a", "1"); first != second || len(first) != 32 {
		t.Errorf("the keys of one event are %q and %q", first, second)
	}
	if key("/a", "1/ü") != key("%2Fa", "1%2f%C3%bc") {
		t.Error("two spellings of one event have two keys")
	}
	seen := map[string]bool{key("/a", "1"): true, key("/a", "2"): true, key("/b", "1"): true, key("/a1", ""): true, key("", "/a1"): true}
	if len(seen) != 5 {
		t.Errorf("five events have %d keys", len(seen))
	}
}

func TestEncodeDecode(t *testing.T) {
	tests := map[string]struct{ plain, encoded string }{
		"nothing":        {"", ""},
		"plain":          {"a-Z/0?&=~'", "a-Z/0?&=~'"},
		"to be encoded":  {` "%`, "%20%22%25"},
		"control":        {"a\x00\n\x7f", "a%00%0A%7F"},
		"not ASCII":      {"Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"},
		"an encoding":    {"%20", "%2520"},
		"not even UTF-8": {"\xff", "%FF"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Encode(test.plain); got != test.encoded {
				t.Errorf("Encode(%q) = %q, want %q", test.plain, got, test.encoded)
			}
			if got := Decode(test.encoded); got != test.plain {
				t.Errorf("Decode(%q) = %q, want %q", test.encoded, got, test.plain)
			}
		})
	}
	for in, want := range map[string]string{"%": "%", "%2": "%2", "%zz%41": "%zzA", "%e2%82%ac": "€", "a b": "a b"} {
		if got := Decode(in); got != want {
			t.Errorf("Decode(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestSDK(t *testing.T) {
	e := &Event{Data: []byte("hi"), Attributes: []Attribute{
		{"specversion", "1.0"}, {"id", "1"}, {"source", "/a%20b"}, {"type", "a.b"}, {"subject", "%E2%82%AC"},
		{"time", "2026-01-02T03:04:05Z"}, {"datacontenttype", "text/plain"}, {"dataschema", "http://x/y"}, {"ext", "%22q%22"},
	}}
	ce, err := e.SDK()
	if err != nil {
		t.Fatal(err)
	}
	if err := ce.Validate(); err != nil {
		t.Error(err)
	}
	got := []string{ce.ID(), ce.Type(), ce.Subject(), ce.Time().String(), ce.DataContentType(), ce.DataSchema(), string(ce.Data())}
	want := []string{"1", "a.b", "€", "2026-01-02 03:04:05 +0000 UTC", "text/plain", "http://x/y", "hi"}
	if !slices.Equal(got, want) || ce.Extensions()["ext"] != `"q"` {
		t.Errorf("got %q and %v, want %q", got, ce.Extensions(), want)
	}
}
