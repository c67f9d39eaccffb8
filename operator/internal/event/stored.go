package event

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// headerPrefix begins the header of each attribute, in HTTP and in NATS.
const headerPrefix = "ce-"

// HeaderHops is the header that carries an event's hops, in HTTP and in NATS.
const HeaderHops = "Serviceful-Hops"

// headerNames holds the headers of the usual attributes, so that the hot path
// does not build them.
var headerNames = map[string]string{
	"id": "ce-id", "source": "ce-source", "type": "ce-type", "specversion": "ce-specversion", "time": "ce-time",
	"subject": "ce-subject", "dataschema": "ce-dataschema", "datacontenttype": "Content-Type", "traceparent": "ce-traceparent",
}

// HeaderName is the header that carries an attribute: "ce-<name>", or
// Content-Type for the content type of the data.
func HeaderName(attribute string) string {
	if h, ok := headerNames[attribute]; ok {
		return h
	}
	return headerPrefix + attribute
}

// ToStored writes the attributes as the headers of a stored message.
func (e *Event) ToStored(header map[string][]string) {
	for _, a := range e.Attributes {
		header[HeaderName(a.Name)] = []string{a.Value}
	}
	if e.Hops > 0 {
		header[HeaderHops] = []string{strconv.Itoa(e.Hops)}
	}
}

// FromStored reads an event back from the headers of a stored message. It does
// not validate: what is stored was valid.
func FromStored(header map[string][]string, data []byte) *Event {
	e := &Event{Attributes: make([]Attribute, 0, 8), Data: data}
	for key, values := range header {
		if len(values) == 0 {
			continue
		}
		if name, ok := strings.CutPrefix(key, headerPrefix); ok {
			e.Attributes = append(e.Attributes, Attribute{name, values[0]})
			continue
		}
		switch key {
		case "Content-Type":
			e.Attributes = append(e.Attributes, Attribute{"datacontenttype", values[0]})
		case HeaderHops:
			e.Hops, _ = strconv.Atoi(values[0]) // it was written here
		}
	}
	return e
}

// Key is a short name for the pair of source and id, by which CloudEvents tells
// events apart, however a header spells them: 16 bytes of its hash, in hexadecimal.
func (e *Event) Key() string {
	h := sha256.New()
	h.Write([]byte(Decode(e.Source())))
	h.Write([]byte{0})
	h.Write([]byte(Decode(e.ID())))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
