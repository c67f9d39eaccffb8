package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"mime"
	"slices"
	"strconv"
	"strings"
)

// fromJSON reads an event in the JSON format. The SDK's own reader will not do:
// it panics where data_base64 is no string, leaves out what follows an empty
// name, and cuts fractions off numbers. Of two members of one name the last
// counts, and what is no Unicode in a string becomes U+FFFD.
func fromJSON(body []byte) (*Event, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, invalid("it is not a JSON object: %v", plainly(err))
	}
	data, base64 := fields["data"], fields["data_base64"]
	delete(fields, "data")
	delete(fields, "data_base64")
	e := &Event{Attributes: make([]Attribute, 0, len(fields)+1)}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value, null, err := attributeValue(name, fields[name])
		if err != nil {
			return nil, err
		}
		if !null {
			e.Attributes = append(e.Attributes, Attribute{name, value})
		}
	}
	if (data != nil || base64 != nil) && e.Get("datacontenttype") == "" {
		e.Set("datacontenttype", "application/json") // the JSON format's default
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	e.upperTime()
	return e, e.setData(data, base64)
}

// plainly says what is wrong with JSON to somebody who knows nothing of Go's types.
func plainly(err error) error {
	if other := new(json.UnmarshalTypeError); errors.As(err, &other) {
		return errors.New("it is another value: " + other.Value)
	}
	return err
}

// attributeValue is the header form of a value in JSON: a string, true, false
// or a 32-bit integer. null stands for an attribute that is not set.
func attributeValue(name string, raw json.RawMessage) (value string, null bool, err error) {
	switch c := raw[0]; {
	case c == 'n':
		return "", true, nil
	case c == '"':
		err = json.Unmarshal(raw, &value)
		if name != "datacontenttype" { // its header is not one of CloudEvents
			value = Encode(value)
		}
		return value, false, err
	case defined(name):
		return "", false, invalid("attribute %q is not a string", name)
	case c == 't', c == 'f':
		return string(raw), false, nil
	}
	if _, err := strconv.ParseInt(string(raw), 10, 32); err != nil {
		return "", false, invalid("attribute %q is neither a string nor true, false or a 32-bit integer", name)
	}
	return string(raw), false, nil
}

// setData takes the data of an event in the JSON format, whose attributes are
// valid: a JSON value, text in a JSON string, or bytes in Base64.
func (e *Event) setData(data, base64 json.RawMessage) error {
	switch {
	case data != nil && base64 != nil:
		return invalid("it has both data and data_base64")
	case base64 != nil:
		if err := json.Unmarshal(base64, &e.Data); err != nil || base64[0] == '[' {
			return invalid("data_base64 is not a string in Base64")
		}
	case data == nil:
	case IsJSON(e.Get("datacontenttype")):
		e.Data = bytes.Clone(data)
	default:
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return invalid("data is not a string, although its datacontenttype is not JSON")
		}
		e.Data = []byte(text)
	}
	return nil
}

// IsJSON reports whether a content type is JSON, or a format made of it.
func IsJSON(contentType string) bool {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	return strings.HasSuffix(mediaType, "/json") || strings.HasSuffix(mediaType, "+json")
}
