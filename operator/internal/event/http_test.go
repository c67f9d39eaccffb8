package event

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// binary is an event in binary mode; each pair replaces or adds a header, and
// "-" removes one.
func binary(pairs ...string) http.Header {
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"a.b"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "-" {
			h.Del(pairs[i])
		}
	}
	return h
}

// structured is an event in the JSON format with more members, such as `"a":1`.
func structured(more ...string) string {
	return "{" + strings.Join(append([]string{`"specversion":"1.0","id":"1","source":"/s","type":"a.b"`}, more...), ",") + "}"
}

func contentType(ct string) http.Header { return http.Header{"Content-Type": {ct}} }

// attributes is the event's attributes without the four of every event.
func attributes(e *Event) map[string]string {
	out := map[string]string{}
	for _, a := range e.Attributes {
		out[a.Name] = a.Value
	}
	for name, value := range map[string]string{"specversion": "1.0", "id": "1", "source": "/s", "type": "a.b"} {
		if out[name] == value {
			delete(out, name)
		}
	}
	return out
}

func TestFromHTTP(t *testing.T) {
	const jsonType, text = "application/json", "text/plain"
	tests := map[string]struct {
		header http.Header
		body   string
		want   map[string]string // besides the four
		data   string
	}{
		"binary":                     {binary(), "hi", nil, "hi"},
		"binary, all attributes":     {binary("Ce-Time", "2026-01-02T03:04:05.6+01:00", "Ce-Subject", "s%20t", "Ce-Dataschema", "http://x/y", "Content-Type", "text/csv; header=present"), "a,b", map[string]string{"time": "2026-01-02T03:04:05.6+01:00", "subject": "s%20t", "dataschema": "http://x/y", "datacontenttype": "text/csv; header=present"}, "a,b"},
		"binary, extensions":         {binary("Ce-Traceparent", "00-a-b-01", "Ce-X9", "", "Ce-Spaces", "a b"), "", map[string]string{"traceparent": "00-a-b-01", "x9": "", "spaces": "a b"}, ""},
		"binary, no content type":    {binary(), `{"a":1}`, nil, `{"a":1}`},
		"binary, other headers":      {binary("Cc-Id", "x", "Cebra", "y", "Accept", "z"), "", nil, ""},
		"binary, lower-case headers": {http.Header{"ce-specversion": {"1.0"}, "cE-id": {"1"}, "ce-source": {"/s"}, "ce-type": {"a.b"}}, "", nil, ""},

		"structured":              {contentType(ContentTypeJSON), structured(), nil, ""},
		"structured, charset":     {contentType("Application/CloudEvents+JSON; charset=utf-8"), structured(), nil, ""},
		"structured, white space": {contentType(ContentTypeJSON), " {\n\"specversion\" : \"1.0\", \"id\": \"1\", \"source\": \"/s\", \"type\": \"a.b\", \"data\" : [ 1 ] }", map[string]string{"datacontenttype": jsonType}, "[ 1 ]"},
		"default content type":    {contentType(ContentTypeJSON), structured(`"data":{"a":1}`), map[string]string{"datacontenttype": jsonType}, `{"a":1}`},
		"JSON by suffix":          {contentType(ContentTypeJSON), structured(`"data":"x"`, `"datacontenttype":"application/geo+json"`), map[string]string{"datacontenttype": "application/geo+json"}, `"x"`},
		"JSON null":               {contentType(ContentTypeJSON), structured(`"data":null`), map[string]string{"datacontenttype": jsonType}, "null"},
		"data that is text":       {contentType(ContentTypeJSON), structured(`"data":"a\n\u00e9"`, `"datacontenttype":"text/plain"`), map[string]string{"datacontenttype": text}, "a\né"},
		"text before its type":    {contentType(ContentTypeJSON), `{"data":"x","datacontenttype":"text/plain",` + structured()[1:], map[string]string{"datacontenttype": text}, "x"},
		"Base64":                  {contentType(ContentTypeJSON), structured(`"data_base64": "aGk/aGk\/"`, `"datacontenttype":"image/png"`), map[string]string{"datacontenttype": "image/png"}, "hi?hi?"},
		"Base64, no type":         {contentType(ContentTypeJSON), structured(`"data_base64":"e30="`), map[string]string{"datacontenttype": jsonType}, "{}"},
		"extension types":         {contentType(ContentTypeJSON), structured(`"t":true,"f":false,"i":-2147483648,"u":"http://x/%20","at":"2026-01-02T03:04:05Z","bin":"aGk=","none":null`), map[string]string{"t": "true", "f": "false", "i": "-2147483648", "u": "http://x/%2520", "at": "2026-01-02T03:04:05Z", "bin": "aGk="}, ""},
		"characters to encode":    {contentType(ContentTypeJSON), structured(`"subject":"é \"%😀"`), map[string]string{"subject": "%C3%A9%20%22%25%F0%9F%98%80"}, ""},
		"members twice":           {contentType(ContentTypeJSON), structured(`"x":1,"data":[1]`, `"x":2,"data":{"a":1,"a":2}`), map[string]string{"x": "2", "datacontenttype": jsonType}, `{"a":1,"a":2}`},
		"no Unicode":              {contentType(ContentTypeJSON), structured(`"x":"a\ud800"`, "\"y\":\"\xff\"", `"data":"\udc00b"`, `"datacontenttype":"text/plain"`), map[string]string{"x": "a%EF%BF%BD", "y": "%EF%BF%BD", "datacontenttype": text}, "\ufffdb"},
		"no Unicode, in JSON":     {contentType(ContentTypeJSON), structured("\"data\":[\"\\ud800\xff\"]"), map[string]string{"datacontenttype": jsonType}, "[\"\\ud800\xff\"]"},
		"time in lower case":      {binary("Ce-Time", "2026-01-02t03:04:05.60z"), "", map[string]string{"time": "2026-01-02T03:04:05.60Z"}, ""},
		"source of a fragment":    {binary("Ce-Source", "#"), "", map[string]string{"source": "#"}, ""},
		"source not encoded":      {binary("Ce-Source", "/a%20b"), "", map[string]string{"source": "/a%2520b"}, ""},
		"JSON, the same":          {contentType(ContentTypeJSON), structured(`"source":"/a%20b"`), map[string]string{"source": "/a%2520b"}, ""},
		"JSON, it in lower case":  {contentType(ContentTypeJSON), structured(`"time":"2026-01-02t03:04:05+01:00"`), map[string]string{"time": "2026-01-02T03:04:05+01:00"}, ""},
		"time stays as it is":     {contentType(ContentTypeJSON), structured(`"time":"2026-01-02T03:04:05.60+01:00"`), map[string]string{"time": "2026-01-02T03:04:05.60+01:00"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			events, err := FromHTTP(test.header, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if e := events[0]; len(events) != 1 || !maps.Equal(attributes(e), test.want) || string(e.Data) != test.data {
				t.Errorf("got %v with data %q, want %v with %q", attributes(e), e.Data, test.want, test.data)
			}
		})
	}
}

func TestFromHTTPRefuses(t *testing.T) {
	js, batch := contentType(ContentTypeJSON), contentType(ContentTypeBatch)
	long := strings.Repeat("x", MaxAttributes)
	tests := map[string]struct {
		header http.Header
		body   string
		want   string // in the message
	}{
		"nothing":                {http.Header{}, "", "specversion"},
		"plain JSON":             {contentType("application/json"), structured(), "Content-Type is " + ContentTypeJSON},
		"no id":                  {binary("Ce-Id", "-"), "", `"id" is missing`},
		"no source":              {binary("Ce-Source", "-"), "", `"source" is missing`},
		"no type":                {binary("Ce-Type", "-"), "", `"type" is missing`},
		"no specversion":         {binary("Ce-Specversion", "-"), "", `there is no specversion`},
		"other specversion":      {binary("Ce-Specversion", "0.3"), "", `specversion is "0.3"`},
		"empty id":               {binary("Ce-Id", ""), "", `"id" is empty`},
		"id a space":             {binary("Ce-Id", "%20"), "", `"id" is empty`},
		"no UTF-8":               {binary("Ce-Subject", "a%ff"), "", `"subject" holds a control character, or what is no UTF-8`},
		"control character":      {binary("Ce-Id", "a%00b"), "", `"id" holds a control character`},
		"C1 control":             {binary("Ce-Subject", "%C2%85"), "", `"subject" holds a control character`},
		"noncharacter":           {binary("Ce-Subject", "%EF%BF%BE"), "", `"subject" holds a control character`},
		"empty subject":          {binary("Ce-Subject", ""), "", `"subject" is empty`},
		"empty time":             {binary("Ce-Time", ""), "", `"time" is empty`},
		"type no subject":        {binary("Ce-Type", "a%20b"), "", `type "a b"`},
		"type with a slash":      {binary("Ce-Type", "/a"), "", `type "/a"`},
		"type too long":          {binary("Ce-Type", strings.Repeat("a", names.MaxEventType+1)), "", "at most 200"},
		"bad time":               {binary("Ce-Time", "yesterday"), "", `time "yesterday"`},
		"leap second":            {binary("Ce-Time", "2016-12-31T23:59:60Z"), "", `time "2016-12-31T23:59:60Z" is no RFC 3339 time, or is a leap second`},
		"bad source":             {binary("Ce-Source", "%zz"), "", `source "%zz"`},
		"a space in the source":  {binary("Ce-Source", "/a b"), "", `source "/a b" is not a URI-reference`},
		"relative dataschema":    {binary("Ce-Dataschema", "schema.json"), "", `dataschema "schema.json"`},
		"bad content type":       {binary("Content-Type", "no type"), "", `datacontenttype "no type"`},
		"content type twice":     {binary("Ce-Datacontenttype", "text/plain"), "", "Content-Type"},
		"header twice":           {http.Header{"Ce-Id": {"1", "2"}}, "", `"Ce-Id" is given 2 times`},
		"header in two cases":    {http.Header{"Ce-Id": {"1"}, "ce-id": {"1"}}, "", `"id" is given twice`},
		"not ASCII":              {binary("Ce-Subject", "é"), "", "percent-encoded UTF-8, such as %C3%BC"},
		"line break":             {binary("Ce-Subject", "a\nb"), "", `"subject" holds`},
		"space at the end":       {binary("Ce-Subject", "a "), "", `"subject" holds`},
		"name with a dash":       {binary("Ce-My-Ext", "x"), "", `"my-ext"`},
		"no name":                {binary("Ce-", "x"), "", "attribute name"},
		"attribute data":         {binary("Ce-Data", "x"), "", `"data"`},
		"attributes too long":    {binary("Ce-Subject", long), "", "more than 32768"},
		"unknown format":         {contentType("application/cloudevents+avro"), "", "application/cloudevents+avro"},
		"bad format":             {contentType(ContentTypeJSON + "; ="), "", "content type"},
		"not JSON":               {js, "{", "JSON object"},
		"no object":              {js, "[]", "JSON object: it is another value: array"},
		"null":                   {js, "null", "specversion"},
		"two objects":            {js, structured() + "{}", "JSON object"},
		"JSON, other version":    {js, strings.Replace(structured(), "1.0", "0.3", 1), `specversion is "0.3"`},
		"JSON, no id":            {js, strings.Replace(structured(), `"id":"1",`, "", 1), `"id" is missing`},
		"JSON, id null":          {js, strings.Replace(structured(), `"id":"1"`, `"id":null`, 1), `"id" is missing`},
		"JSON, id a number":      {js, strings.Replace(structured(), `"id":"1"`, `"id":1`, 1), `"id" is not a string`},
		"JSON, subject an array": {js, structured(`"subject":[]`), `"subject" is not a string`},
		"JSON, bad time":         {js, structured(`"time":"x"`), `time "x"`},
		"JSON, bad source":       {js, structured(`"source":"http://[x"`), `source "http://[x"`},
		"JSON, space in source":  {js, structured(`"source":"/a b"`), `source "/a b" is not a URI-reference`},
		"JSON, upper case":       {js, structured(`"MyExt":"x"`), `"MyExt"`},
		"JSON, empty name":       {js, structured(`"":"x"`), `attribute name ""`},
		"JSON, fraction":         {js, structured(`"n":1.5`), `"n" is neither`},
		"JSON, 33 bits":          {js, structured(`"n":2147483648`), `"n" is neither`},
		"JSON, object":           {js, structured(`"o":{}`), `"o" is neither`},
		"JSON, content type":     {js, structured(`"datacontenttype":"é"`), `"datacontenttype" holds`},
		"JSON, text no string":   {js, structured(`"data":{}`, `"datacontenttype":"text/plain"`), "data is not a string"},
		"JSON, Base64 a number":  {js, structured(`"data_base64":1`), "data_base64"},
		"JSON, Base64 an array":  {js, structured(`"data_base64":[1]`), "data_base64"},
		"JSON, bad Base64":       {js, structured(`"data_base64":"!"`), "data_base64"},
		"JSON, both data":        {js, structured(`"data":1`, `"data_base64":"aGk="`), "data_base64"},
		"JSON, encoded too long": {js, structured(`"x":"` + strings.Repeat("é", MaxAttributes/6) + `"`), "more than 32768"},
		"batch no array":         {batch, structured(), "array"},
		"batch null":             {batch, "null", "array: it is another value: null"},
		"batch too long":         {batch, "[" + strings.Repeat("0,", MaxBatch) + "0]", "this one 1001"},
		"batch, one bad":         {batch, "[" + structured() + "," + structured(`"time":"x"`) + "]", `event 2 of the batch is not a valid CloudEvent: time "x"`},
		"batch, one null":        {batch, "[null]", "event 1"},
		"batch, same event":      {batch, "[" + structured() + "," + structured(`"x":"y"`) + "]", "event 2 of the batch has the source and id"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			events, err := FromHTTP(test.header, []byte(test.body))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %d events and the error %v, want one with %q", len(events), err, test.want)
			}
		})
	}
}

// TestURIs has source and dataschema be what RFC 3986 says, alike in both modes.
func TestURIs(t *testing.T) {
	tests := map[string]bool{
		"http://shop.example:80/a/b;c=1?q='x'&y=(1)#f!": true, "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66": true,
		"http://[::1]/a": true, "mailto:till+1@shop.example": true, "http://x/a%20b?%C3%A9": true, "http://x/~a,b*$": true,
		"http://x/a#b": true, "http://x/a%5Bb": true, "http://x/a#b#c": false, "http://x/a[b": false, "http://x/a]b": false, "http://x/a?[": false, "http://x/a#[": false, "urn:a[b": false,
		"http://x/a b": false, "http://x/a?b c": false, "http://x/#a b": false, "urn:a b": false, "http://x/caf\u00e9": false, "http://x/\u20ac": false,
		`http://x/"`: false, "http://x/<a>": false, `http://x/\a`: false, "http://x/^": false, "http://x/`": false, "http://x/{a}": false, "http://x/|": false, "http://x/%zz": false,
	}
	for uri, valid := range tests {
		for _, name := range []string{"source", "dataschema"} {
			header := uri // which encoded could be a URI: of a client that does not encode
			if valid {
				header = Encode(uri)
			}
			_, inBinary := FromHTTP(binary("Ce-"+name, header), nil)
			_, inJSON := FromHTTP(contentType(ContentTypeJSON), []byte(structured(fmt.Sprintf("%q:%q", name, uri))))
			for mode, err := range map[string]error{"binary": inBinary, "JSON": inJSON} {
				if (err == nil) != valid || err != nil && !errors.Is(err, ErrInvalid) {
					t.Errorf("%s %s %q: %v, want it valid: %v", mode, name, uri, err, valid)
				}
			}
		}
	}
}

func TestFromHTTPBatch(t *testing.T) {
	var raw []string
	for i := range MaxBatch {
		raw = append(raw, strings.Replace(structured(fmt.Sprintf(`"data":%d`, i)), `"id":"1"`, fmt.Sprintf(`"id":"%d"`, i), 1))
	}
	raw[1] = strings.Replace(structured(`"data":1`), `"/s"`, `"/other"`, 1) // the same id of another source
	events, err := FromHTTP(contentType(ContentTypeBatch), []byte("["+strings.Join(raw, ",")+"]"))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range events {
		if string(e.Data) != fmt.Sprint(i) {
			t.Fatalf("event %d has data %q", i, e.Data)
		}
	}
	if len(events) != MaxBatch {
		t.Errorf("got %d events, want %d", len(events), MaxBatch)
	}
	if events, err := FromHTTP(contentType(ContentTypeBatch), []byte(" [ ]")); len(events) != 0 || err != nil {
		t.Errorf("an empty batch holds %d events: %v", len(events), err)
	}
}

func TestInMessage(t *testing.T) {
	tests := map[string]struct {
		header http.Header
		want   bool
	}{
		"binary":     {binary(), true},
		"structured": {contentType(ContentTypeJSON), true},
		"batch":      {contentType("APPLICATION/cloudevents-batch+json; charset=utf-8"), true},
		"an answer":  {contentType("application/json"), false},
		"nothing":    {http.Header{}, false},
		"only an id": {http.Header{"Ce-Id": {"1"}}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := InMessage(test.header); got != test.want {
				t.Errorf("InMessage = %v, want %v", got, test.want)
			}
		})
	}
}

// stored is e as it comes back from where it is stored.
func stored(e *Event) *Event {
	h := map[string][]string{"Serviceful-Format": {"1"}, "Nats-Msg-Id": {"e/x"}, "Nats-Empty": nil}
	for _, a := range e.Attributes {
		h[HeaderName(a.Name)] = []string{a.Value}
	}
	return FromStored(h, e.Data)
}

func sorted(as []Attribute) []Attribute {
	return slices.SortedFunc(slices.Values(as), func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
}

func TestStored(t *testing.T) {
	events, err := FromHTTP(contentType(ContentTypeJSON), []byte(structured(`"data":[1]`, `"subject":"a b"`, `"x":1`)))
	if err != nil {
		t.Fatal(err)
	}
	back := stored(events[0])
	if !slices.Equal(sorted(back.Attributes), sorted(events[0].Attributes)) || string(back.Data) != "[1]" {
		t.Errorf("got %v, want %v", back, events[0])
	}
}
