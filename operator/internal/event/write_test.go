package event

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func withData(contentType, data string, more ...Attribute) *Event {
	e := &Event{Attributes: append([]Attribute{{"specversion", "1.0"}, {"id", "1"}, {"source", "/a"}, {"type", "a.b"}}, more...), Data: []byte(data)}
	if contentType != "" {
		e.Set("datacontenttype", contentType)
	}
	return e
}

func TestToBatch(t *testing.T) {
	const head = `{"specversion":"1.0","id":"1","source":"/a","type":"a.b"`
	tests := map[string]struct {
		event *Event
		want  string
	}{
		"no data":               {withData("", ""), head + `}`},
		"JSON":                  {withData("application/json", `{"a": 1.50}`), head + `,"datacontenttype":"application/json","data":{"a": 1.50}}`},
		"JSON by its suffix":    {withData("application/x+json; charset=utf-8", `[]`), head + `,"datacontenttype":"application/x+json; charset=utf-8","data":[]}`},
		"JSON that is none":     {withData("application/json", `{`), head + `,"datacontenttype":"application/json","data_base64":"ew=="}`},
		"text":                  {withData("text/csv", "a\"b\n\u00e9"), head + `,"datacontenttype":"text/csv","data":"a\"b\né"}`},
		"text that is none":     {withData("text/plain", "\xff"), head + `,"datacontenttype":"text/plain","data_base64":"/w=="}`},
		"text of another kind":  {withData("text/plain; charset=iso-8859-1", "a"), head + `,"datacontenttype":"text/plain; charset=iso-8859-1","data_base64":"YQ=="}`},
		"bytes":                 {withData("image/png", "abc"), head + `,"datacontenttype":"image/png","data_base64":"YWJj"}`},
		"of no type":            {withData("", "abc"), head + `,"data_base64":"YWJj"}`},
		"an encoded attribute":  {withData("", "", Attribute{"subject", "a%20%22b%22%25%C3%A9"}), head + `,"subject":"a \"b\"%é"}`},
		"an encoded media type": {withData("text/a%20b", ""), head + `,"datacontenttype":"text/a%20b"}`},
	}
	var (
		all  []*Event
		want []string
	)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(ToBatch([]*Event{test.event})); got != "["+test.want+"]" {
				t.Errorf("got  %s\nwant [%s]", got, test.want)
			}
		})
		all, want = append(all, test.event, test.event), append(want, test.want, test.want)
	}
	if got, want := string(ToBatch(all)), "["+strings.Join(want, ",")+"]"; got != want {
		t.Errorf("together: got  %s\nwant %s", got, want)
	}
}

// FuzzToBatch checks that what comes out of a batch is what went in.
func FuzzToBatch(f *testing.F) {
	f.Add("application/json", `{"a":1}`, "a subject")
	f.Add("text/plain", "x\u2028y", "\u00e9\"")
	f.Add("image/png", "\x00\xff", "%41")
	f.Fuzz(func(t *testing.T, contentType, data, subject string) {
		in := withData(contentType, data, Attribute{"subject", Encode(subject)})
		if in.Validate() != nil || !utf8.ValidString(subject) {
			return
		}
		out, err := FromHTTP(http.Header{"Content-Type": {ContentTypeBatch}}, ToBatch([]*Event{in, withData("", "", Attribute{"id2", "2"})})) // the second has the same name
		if err == nil || !strings.Contains(err.Error(), "earlier") {
			t.Fatalf("%v, %v", out, err)
		}
		out, err = FromHTTP(http.Header{"Content-Type": {ContentTypeBatch}}, ToBatch([]*Event{in}))
		if err != nil {
			t.Fatal(err)
		}
		if string(out[0].Data) != data {
			t.Errorf("data %q became %q", data, out[0].Data)
		}
		byName := func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) }
		want, got := slices.SortedFunc(slices.Values(in.Attributes), byName), slices.SortedFunc(slices.Values(out[0].Attributes), byName)
		if contentType == "" && data != "" {
			got = slices.DeleteFunc(got, func(a Attribute) bool { return a.Name == "datacontenttype" }) // the format's default
		}
		if !slices.Equal(got, want) {
			t.Errorf("attributes %q became %q", want, got)
		}
	})
}
