package servicefultest

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

// decode reads one event in binary mode or a batch. The data of each is a json.RawMessage.
func decode(header http.Header, body []byte) ([]serviceful.Event, error) {
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if mediaType == "application/cloudevents-batch+json" {
		return decodeBatch(body)
	}
	event := serviceful.Event{
		ID:      header.Get("Ce-Id"),
		Source:  header.Get("Ce-Source"),
		Type:    header.Get("Ce-Type"),
		Subject: header.Get("Ce-Subject"),
		Data:    json.RawMessage(body),
	}
	if header.Get("Ce-Specversion") != "1.0" || mediaType != "application/json" || !json.Valid(body) {
		return nil, errors.New("not a CloudEvent with JSON data in binary mode")
	}
	var err error
	if at := header.Get("Ce-Time"); at != "" {
		event.Time, err = time.Parse(time.RFC3339Nano, at)
	}
	return []serviceful.Event{event}, errors.Join(err, complete(event))
}

func decodeBatch(body []byte) ([]serviceful.Event, error) {
	var batch []struct {
		SpecVersion string `json:"specversion"`
		serviceful.Event
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, err
	}
	var events []serviceful.Event
	for _, item := range batch {
		item.Event.Data = item.Data
		if item.SpecVersion != "1.0" {
			return nil, errors.New("not a CloudEvent 1.0")
		}
		if err := complete(item.Event); err != nil {
			return nil, err
		}
		events = append(events, item.Event)
	}
	return events, nil
}

func complete(event serviceful.Event) error {
	if event.ID == "" || event.Source == "" || event.Type == "" {
		return errors.New("a CloudEvent needs id, source and type")
	}
	return nil
}
