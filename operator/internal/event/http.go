package event

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	sdk "github.com/cloudevents/sdk-go/v2/event"
)

// The media types of the JSON format and of the JSON batch format.
const (
	ContentTypeJSON  = "application/cloudevents+json"
	ContentTypeBatch = "application/cloudevents-batch+json"
)

const contentTypePrefix = "application/cloudevents"

// InMessage reports whether an HTTP message holds CloudEvents at all. A
// function's answer without any is just an answer.
func InMessage(h http.Header) bool {
	return len(h["Ce-Specversion"]) > 0 || isCloudEvents(h.Get("Content-Type"))
}

func isCloudEvents(contentType string) bool {
	return len(contentType) >= len(contentTypePrefix) && strings.EqualFold(contentType[:len(contentTypePrefix)], contentTypePrefix)
}

// FromHTTP reads the events of an HTTP message: one in binary or structured
// mode, or a batch, which may be empty. Every event is valid, no two of a batch
// have the same source and id. Errors wrap ErrInvalid.
func FromHTTP(h http.Header, body []byte) ([]*Event, error) {
	contentType := h.Get("Content-Type")
	if !isCloudEvents(contentType) {
		e, err := fromBinary(h, body)
		if err != nil {
			return nil, err
		}
		return []*Event{e}, nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, invalid("content type %q: %v", contentType, err)
	}
	switch mediaType {
	case ContentTypeJSON:
		e, err := fromJSON(body)
		if err != nil {
			return nil, err
		}
		return []*Event{e}, nil
	case ContentTypeBatch:
		return fromBatch(body)
	}
	return nil, invalid("content type %q is neither %s nor %s", mediaType, ContentTypeJSON, ContentTypeBatch)
}

func fromBinary(h http.Header, body []byte) (*Event, error) {
	e := &Event{Attributes: make([]Attribute, 0, 8), Data: body}
	for key, values := range h {
		if len(key) < 3 || (key[0] != 'C' && key[0] != 'c') || (key[1] != 'E' && key[1] != 'e') || key[2] != '-' {
			continue
		}
		if len(values) != 1 {
			return nil, invalid("header %q is given %d times", key, len(values))
		}
		name := strings.ToLower(key[3:])
		if name == "datacontenttype" {
			return nil, invalid("in binary mode the content type of the data is the header Content-Type, not %s", key)
		}
		e.Attributes = append(e.Attributes, Attribute{name, spelled(name, values[0])})
	}
	if ct := h.Get("Content-Type"); ct != "" {
		e.Attributes = append(e.Attributes, Attribute{"datacontenttype", ct})
	}
	if err := e.Validate(); err != nil {
		return nil, err
	}
	e.upperTime()
	return e, nil
}

func fromBatch(body []byte) ([]*Event, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, invalid("the batch is not a JSON array: %v", plainly(err))
	}
	if raw == nil {
		return nil, invalid("the batch is not a JSON array: it is another value: null")
	}
	if len(raw) > MaxBatch {
		return nil, invalid("a batch holds at most %d events, this one %d", MaxBatch, len(raw))
	}
	events := make([]*Event, len(raw))
	seen := make(map[[2]string]bool, len(raw))
	for i := range raw {
		e, err := fromJSON(raw[i])
		if err != nil {
			return nil, fmt.Errorf("event %d of the batch is %w", i+1, err)
		}
		key := [2]string{e.Source(), e.ID()}
		if seen[key] {
			return nil, invalid("event %d of the batch has the source and id of an earlier one", i+1)
		}
		seen[key] = true
		events[i] = e
	}
	return events, nil
}

// SDK is the event as the CloudEvents SDK holds it, for what needs decoded
// attributes (filters).
func (e *Event) SDK() (*sdk.Event, error) {
	ce := sdk.New()
	version := spec.V1
	for _, a := range e.Attributes {
		if a.Name == "specversion" {
			continue
		}
		value := Decode(a.Value)
		if attr := version.Attribute(a.Name); attr != nil {
			if err := attr.Set(ce.Context, value); err != nil {
				return nil, invalid("attribute %q: %v", a.Name, err)
			}
			continue
		}
		if err := ce.Context.SetExtension(a.Name, value); err != nil {
			return nil, invalid("attribute %q: %v", a.Name, err)
		}
	}
	ce.DataEncoded = e.Data
	return &ce, nil
}
