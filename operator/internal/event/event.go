package event

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/binding/spec"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// MaxBatch is the most events that one batch may hold: the limit of an atomic
// publish of the NATS server.
const MaxBatch = 1000

// MaxAttributes is the most bytes that an event's attributes may take together
// as header lines.
const MaxAttributes = 32 << 10

// Attribute is one context attribute or extension: a lower-case name without
// the "ce-" prefix, and its value as the HTTP binding writes it in a header
// (percent-encoded outside printable ASCII). The content type of the data is
// the attribute "datacontenttype".
type Attribute struct{ Name, Value string }

// Event is one CloudEvent.
type Event struct {
	Attributes []Attribute
	Data       []byte
	Hops       int // steps from its first cause: functions that were called for it to be; no attribute
}

// Own is an event that the platform itself makes, without data yet.
func Own(id, source, eventType string, at time.Time) *Event {
	return &Event{Attributes: []Attribute{
		{"specversion", "1.0"}, {"id", id}, {"source", source}, {"type", eventType}, {"time", at.UTC().Format(time.RFC3339Nano)},
	}}
}

// OwnJSON gives an event that the platform makes its data, which has the JSON
// schema of a name (docs/schemas).
func (e *Event) OwnJSON(data []byte, schema string) {
	e.Data = data
	e.Set("datacontenttype", "application/json")
	e.Set("dataschema", "https://serviceful.dev/schemas/"+schema+".json")
}

// Get is the value of an attribute as a header spells it, or "".
func (e *Event) Get(name string) string {
	for i := range e.Attributes {
		if e.Attributes[i].Name == name {
			return e.Attributes[i].Value
		}
	}
	return ""
}

// Set replaces or adds an attribute.
func (e *Event) Set(name, value string) {
	if i := slices.IndexFunc(e.Attributes, func(a Attribute) bool { return a.Name == name }); i >= 0 {
		e.Attributes[i].Value = value
		return
	}
	e.Attributes = append(e.Attributes, Attribute{name, value})
}

// ID is the attribute that, together with the source, names the event.
func (e *Event) ID() string { return e.Get("id") }

// Source is where the event happened.
func (e *Event) Source() string { return e.Get("source") }

// Type is what kind of event it is.
func (e *Event) Type() string { return e.Get("type") }

// ErrInvalid is what every error of this package about the event itself wraps:
// the sender must mend it.
var ErrInvalid = errors.New("not a valid CloudEvent")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Validate checks what CloudEvents 1.0 demands of the attributes, and that the
// type can be a subject (names.ValidEventType).
func (e *Event) Validate() error {
	size := 0
	for i, a := range e.Attributes {
		if !validName(a.Name) {
			return invalid("attribute name %q: only a-z and 0-9 are allowed, and not data", a.Name)
		}
		if err := validValue(a); err != nil {
			return err
		}
		for j := range i {
			if e.Attributes[j].Name == a.Name {
				return invalid("attribute %q is given twice", a.Name)
			}
		}
		size += len(headerPrefix) + len(a.Name) + len(": ") + len(a.Value) + len("\r\n")
	}
	if size > MaxAttributes {
		return invalid("its attributes take %d bytes, more than %d", size, MaxAttributes)
	}
	switch v := e.Get("specversion"); v {
	case "1.0":
	case "":
		return invalid(`there is no specversion, which must be "1.0": its attributes are Ce- headers, or the Content-Type is %s`, ContentTypeJSON)
	default:
		return invalid(`specversion is %q, not "1.0"`, v)
	}
	for _, name := range [...]string{"id", "source", "type"} {
		if e.Get(name) == "" {
			return invalid("the attribute %q is missing", name)
		}
	}
	if t := e.Type(); !names.ValidEventType(t) {
		return invalid("type %q: a type is dot-separated words of A-Z a-z 0-9 _ -, at most %d characters", Decode(t), names.MaxEventType)
	}
	return nil
}

// upperTime spells a valid time with T and Z, as nearly all readers want it: RFC
// 3339 leaves their case open.
func (e *Event) upperTime() {
	if at := e.Get("time"); at != "" {
		e.Set("time", strings.ToUpper(at))
	}
}

func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && s != "data" // which some formats use for the data
}

// defined reports whether CloudEvents itself defines an attribute; all others
// are extensions.
func defined(name string) bool { return spec.V1.Attribute(name) != nil }

// validValue checks the value of one attribute: visible ASCII and spaces inside
// is what the HTTP binding leaves in a header after encoding, and what comes
// out of one as it went in.
func validValue(a Attribute) error {
	for i := range len(a.Value) {
		if c := a.Value[i]; c < ' ' || c > '~' || c == ' ' && (i == 0 || i == len(a.Value)-1) {
			return invalid("attribute %q holds a character that a header cannot carry there; what is not ASCII is percent-encoded UTF-8, such as %%C3%%BC", a.Name)
		}
	}
	decoded := Decode(a.Value)
	if !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, forbidden) {
		return invalid("attribute %q holds a control character, or what is no UTF-8: %q", a.Name, decoded)
	}
	if strings.TrimSpace(decoded) == "" && defined(a.Name) {
		return invalid("attribute %q is empty", a.Name)
	}
	switch a.Name {
	case "time":
		if _, err := time.Parse(time.RFC3339Nano, strings.ToUpper(a.Value)); err != nil {
			return invalid("time %q is no RFC 3339 time, or is a leap second", a.Value)
		}
	case "source":
		if uri(decoded) == nil {
			return invalid("source %q is not a URI-reference", decoded)
		}
	case "dataschema":
		if u := uri(decoded); u == nil || !u.IsAbs() {
			return invalid("dataschema %q is not an absolute URI", decoded)
		}
	case "datacontenttype":
		if !ValidMediaType(a.Value) {
			return invalid("datacontenttype %q is not a media type such as application/json", a.Value)
		}
	}
	return nil
}

// ValidMediaType reports whether s is a media type with its parameters: mime takes
// dispositions, too, which have no slash.
func ValidMediaType(s string) bool {
	_, _, err := mime.ParseMediaType(s)
	return err == nil && strings.Contains(s, "/")
}

// forbidden are the characters that no attribute may have (CloudEvents 1.0, "Type
// System"): control characters and noncharacters.
func forbidden(c rune) bool {
	return c < ' ' || c >= 0x7f && c <= 0x9f || c >= 0xfdd0 && c <= 0xfdef || c&0xfffe == 0xfffe
}

// uri reads a URI-reference; nil: it is none.
func uri(s string) *url.URL {
	u, err := url.Parse(s)
	if s == "" || err != nil || strings.ContainsFunc(s, notInURI) || strings.Count(s, "#") > 1 {
		return nil
	}
	if strings.ContainsAny(s, "[]") && strings.ContainsAny(u.Opaque+u.EscapedPath()+u.RawQuery+u.EscapedFragment(), "[]") {
		return nil // an address has them alone
	}
	return u
}

// spelled is the value of an attribute whose header has a value. One that would be
// no URI, and is one as it stands, is of a client that does not encode: /a%20b.
func spelled(name, header string) string {
	if name != "source" && name != "dataschema" || !strings.Contains(header, "%") || uri(Decode(header)) != nil || uri(header) == nil {
		return header
	}
	return Encode(header)
}

// notInURI are the characters that no URI-reference has (RFC 3986, 2).
func notInURI(c rune) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	return !letter && !strings.ContainsRune("-._~:/?#[]@!$&'()*+,;=%", c)
}

// Encode writes an attribute's value as the HTTP binding does in a header:
// space, '"', '%' and everything outside printable ASCII percent-encoded.
func Encode(s string) string {
	plain := func(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '%' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:i])
	for ; i < len(s); i++ {
		if plain(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
	}
	return b.String()
}

// Decode is the inverse of Encode; what is not an encoding stays as it is.
func Decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
