package serviceful

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	specVersion = "1.0"
	jsonType    = "application/json"
	batchType   = "application/cloudevents-batch+json"
)

// Event is a CloudEvent 1.0 with JSON data. Source and ID together name it: an event published again with both the same is the
// same event, so give an event that follows from another an ID derived from it.
type Event struct {
	ID      string    `json:"id"`
	Source  string    `json:"source"`
	Type    string    `json:"type"`
	Subject string    `json:"subject,omitempty"`
	Time    time.Time `json:"time"` // when it was published, unless set
	Data    any       `json:"data,omitempty"`
}

// Publish stores the events, all or none, at most 1000; they are stored when it returns. Each type must be in the function's emits.
// The context of a request that Handle handed over tells the platform what led to them, so that an endless loop comes to an end.
func (c *Client) Publish(ctx context.Context, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	header := http.Header{}
	body, err := encode(header, events)
	if err != nil {
		return err
	}
	_, _, err = c.call(ctx, http.MethodPost, c.config.Sink, header, body)
	return err
}

// Answer ends an asynchronous call with a success. The platform publishes the events before it settles the call, so that a crash
// between the two repeats the call and never loses an event.
func Answer(w http.ResponseWriter, events ...Event) error {
	if len(events) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	body, err := encode(w.Header(), events)
	if err != nil {
		return err
	}
	_, _ = w.Write(body) // the caller is gone: it will call again
	return nil
}

// ReadEvent reads the event that the platform delivers, in binary mode, and decodes its JSON data into data. What is no such event
// is a 400 *Problem: no later delivery would read better.
func ReadEvent(r *http.Request, data any) (Event, error) {
	event := Event{
		ID:      attribute(r.Header, "id"),
		Source:  attribute(r.Header, "source"),
		Type:    attribute(r.Header, "type"),
		Subject: attribute(r.Header, "subject"),
		Data:    data,
	}
	if attribute(r.Header, "specversion") != specVersion || event.ID == "" || event.Source == "" || event.Type == "" {
		return Event{}, NewProblem(http.StatusBadRequest, "not a CloudEvent %s in binary mode", specVersion)
	}
	if at := attribute(r.Header, "time"); at != "" {
		var err error
		if event.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return Event{}, NewProblem(http.StatusBadRequest, "the event's time is not an RFC 3339 time")
		}
	}
	return event, readJSON(r, data, maxEvent)
}

// encode sets the headers of the events, one in binary mode and more as a batch, and returns the body.
func encode(header http.Header, events []Event) ([]byte, error) {
	type structured struct {
		SpecVersion     string `json:"specversion"`
		DataContentType string `json:"datacontenttype"`
		Event
	}
	batch := make([]structured, len(events))
	for i, event := range events {
		if event.Time.IsZero() {
			event.Time = time.Now()
		}
		event.Time = event.Time.UTC()
		batch[i] = structured{specVersion, jsonType, event}
	}

	var content any = batch
	header.Set("Content-Type", batchType)
	if len(batch) == 1 {
		content = batch[0].Data
		setAttributes(header, batch[0].Event)
	}
	body, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encoding events: %w", err)
	}
	return body, nil
}

func setAttributes(header http.Header, event Event) {
	header.Set("Content-Type", jsonType)
	for name, value := range map[string]string{
		"specversion": specVersion,
		"id":          event.ID,
		"source":      event.Source,
		"type":        event.Type,
		"subject":     event.Subject,
		"time":        event.Time.Format(time.RFC3339Nano),
	} {
		if value != "" {
			header.Set("Ce-"+name, escape(value))
		}
	}
}

// escape percent-encodes what the CloudEvents HTTP binding does not allow in a header: everything but printable ASCII without
// space, quote and percent.
func escape(value string) string {
	var out strings.Builder
	for _, b := range []byte(value) {
		if b <= ' ' || b == '"' || b == '%' || b > '~' {
			fmt.Fprintf(&out, "%%%02X", b)
			continue
		}
		out.WriteByte(b)
	}
	return out.String()
}

func attribute(header http.Header, name string) string {
	value := header.Get("Ce-" + name)
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}
