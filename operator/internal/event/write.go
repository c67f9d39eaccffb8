package event

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"
)

// ToBatch writes events in the JSON batch format. JSON and text are the attribute
// data, everything else, and what is not what its content type says, is
// data_base64.
func ToBatch(events []*Event) []byte {
	size := len("[]")
	for _, e := range events {
		size += e.jsonSize()
	}
	b := append(make([]byte, 0, size), '[')
	var contentType string // of the event before; most are of one
	form := formOf(contentType)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		if t := e.Get("datacontenttype"); t != contentType {
			contentType, form = t, formOf(t)
		}
		b = e.appendJSON(b, form)
	}
	return append(b, ']')
}

// form is how data of a content type is written.
type form int

const (
	asBytes form = iota
	asText
	asJSON
)

// formOf parses a content type, which costs more than all else of a small event.
func formOf(contentType string) form {
	switch {
	case IsJSON(contentType):
		return asJSON
	case isText(contentType):
		return asText
	}
	return asBytes
}

// jsonSize is about how much an event takes in JSON; more only where much of it
// must be escaped.
func (e *Event) jsonSize() int {
	n := len(`{"data_base64":""},`) + base64.StdEncoding.EncodedLen(len(e.Data))
	for _, a := range e.Attributes {
		n += len(a.Name) + len(a.Value) + len(`"":"",`)
	}
	return n
}

func (e *Event) appendJSON(b []byte, f form) []byte {
	b = append(b, '{')
	for i, a := range e.Attributes {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, a.Name)
		b = append(b, ':')
		if a.Name == "datacontenttype" { // its header is not one of CloudEvents
			b = appendString(b, a.Value)
		} else {
			b = appendString(b, Decode(a.Value))
		}
	}
	if len(e.Data) > 0 {
		if len(e.Attributes) > 0 {
			b = append(b, ',')
		}
		b = e.appendData(b, f)
	}
	return append(b, '}')
}

func (e *Event) appendData(b []byte, f form) []byte {
	switch {
	case f == asJSON && utf8.Valid(e.Data) && json.Valid(e.Data):
		return append(append(b, `"data":`...), e.Data...)
	case f == asText && utf8.Valid(e.Data):
		return appendString(append(b, `"data":`...), string(e.Data))
	}
	b = base64.StdEncoding.AppendEncode(append(b, `"data_base64":"`...), e.Data)
	return append(b, '"')
}

// isText reports whether data of a content type is characters, in UTF-8 as far as
// it says.
func isText(contentType string) bool {
	mediaType, params, err := mime.ParseMediaType(contentType)
	charset := strings.ToLower(params["charset"])
	return err == nil && strings.HasPrefix(mediaType, "text/") && (charset == "" || charset == "utf-8" || charset == "us-ascii")
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always can be
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
