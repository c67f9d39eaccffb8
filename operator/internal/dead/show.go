package dead

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/serviceful/serviceful/operator/internal/envelope"
)

// Table writes letters as a table, a line each.
func Table(w io.Writer, letters []Letter) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tDIED\tTRIGGER\tMESSAGE\tREASON\tATTEMPTS\tANSWER")
	for _, l := range letters {
		answer := "-"
		if l.Death.Last != nil {
			answer = strconv.Itoa(l.Death.Last.Status)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.ID, l.Death.Died.UTC().Format(time.RFC3339), Printable(l.Trigger().String()),
			Printable(l.what()), Printable(l.Death.Reason), l.Death.Attempts, answer)
	}
	return t.Flush()
}

// what says in a few words what died.
func (l Letter) what() string {
	switch l.Kind {
	case Event:
		return l.Type
	case Call:
		if r, err := l.Stored.Request(); err == nil {
			path, _, _ := strings.Cut(r.Target, "?")
			return r.Method + " " + path
		}
	}
	return string(l.Kind)
}

// Line is a letter as one JSON object.
type Line struct {
	ID         string    `json:"id"`
	Namespace  string    `json:"namespace"`
	Function   string    `json:"function"`
	Trigger    string    `json:"trigger"`
	Kind       Kind      `json:"kind"`
	Call       string    `json:"call,omitempty"`
	EventID    string    `json:"eventId,omitempty"`
	EventType  string    `json:"eventType,omitempty"`
	Reason     string    `json:"reason"`
	Problem    string    `json:"problem,omitempty"`
	Attempts   int       `json:"attempts"`
	Replays    int       `json:"replays"`
	First      time.Time `json:"first"`
	Died       time.Time `json:"died"`
	LastStatus int       `json:"lastStatus,omitempty"`

	*Content
}

// Content is what only a whole letter has. A body that is not UTF-8 is in
// base64.
type Content struct {
	Request    *envelope.Request   `json:"request,omitempty"`
	Headers    map[string][]string `json:"headers"`
	Body       string              `json:"body"`
	BodyBase64 []byte              `json:"bodyBase64,omitempty"`
	BodyCut    int                 `json:"bodyCut,omitempty"` // bytes that were not kept
	LastBody   string              `json:"lastBody,omitempty"`
	LastBase64 []byte              `json:"lastBodyBase64,omitempty"`
}

// JSON writes a letter as one line of JSON, its bodies and headers too if whole.
func JSON(w io.Writer, l Letter, whole bool) error {
	d := l.Death
	line := Line{
		ID: l.ID.String(), Namespace: l.ID.Namespace, Function: d.Function, Trigger: d.Trigger, Kind: l.Kind, Call: l.Call(),
		Reason: d.Reason, Problem: d.Message, Attempts: d.Attempts, Replays: l.Stored.Replays(), First: d.First, Died: d.Died,
	}
	if l.Type != "" {
		line.EventID, line.EventType = l.Stored.Header.Get("ce-id"), l.Type
	}
	if d.Last != nil {
		line.LastStatus = d.Last.Status
	}
	if whole {
		line.Content = l.content()
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(line)
}

func (l Letter) content() *Content {
	c := &Content{Headers: l.headers(), BodyCut: l.Death.Cut}
	c.Body, c.BodyBase64 = text(l.Body)
	if l.Death.Last != nil {
		c.LastBody, c.LastBase64 = text(l.Death.Last.Body)
	}
	if l.Kind == Call {
		if r, err := l.Stored.Request(); err == nil {
			r.Header = redacted(r.Header)
			c.Request = &r
		}
	}
	return c
}

// text is a body as text or, where it is none, in bytes.
func text(body []byte) (string, []byte) {
	if utf8.Valid(body) {
		return string(body), nil
	}
	return "", body
}

// headers are the message's own, as opposed to the platform's.
func (l Letter) headers() map[string][]string {
	out := map[string][]string{}
	for key, values := range l.Stored.Header {
		if !strings.HasPrefix(key, "Serviceful-") && !strings.HasPrefix(key, "Nats-") {
			out[key] = values
		}
	}
	return redacted(out)
}

// secrets are the headers that prove who somebody is.
var secrets = []string{"authorization", "proxy-authorization", "cookie", "set-cookie"}

// redacted is headers without the values of those that are secret.
func redacted(h map[string][]string) map[string][]string {
	out := maps.Clone(h)
	for key := range out {
		if slices.Contains(secrets, strings.ToLower(key)) {
			out[key] = []string{"(redacted)"}
		}
	}
	return out
}

// Details writes all that is known of a whole letter, for a person.
func Details(w io.Writer, l Letter) error {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s %s\n", name, Printable(fmt.Sprintf(format, args...)))
	}
	d := l.Death
	row("id", "%s", l.ID)
	row("function", "%s", l.Function)
	row("trigger", "%s", d.Trigger)
	row("kind", "%s", l.Kind)
	if l.Kind == Call {
		row("call", "%s", l.Call())
	}
	row("reason", "%s", d.Reason)
	if d.Message != "" {
		row("problem", "%s", d.Message)
	}
	row("attempts", "%d", d.Attempts)
	row("replays", "%d", l.Stored.Replays())
	row("first", "%s", d.First.UTC().Format(time.RFC3339Nano))
	row("died", "%s", d.Died.UTC().Format(time.RFC3339Nano))
	c := l.content()
	if c.Request != nil {
		row("request", "%s %s", c.Request.Method, c.Request.Target)
		row("host", "%s", c.Request.Host)
		writeHeaders(&b, c.Request.Header)
	}
	writeHeaders(&b, c.Headers)
	if c.BodyCut > 0 {
		row("body", "%d bytes, which were not kept", c.BodyCut)
	} else {
		writeBody(&b, "body", l.Body)
	}
	if d.Last == nil {
		row("answer", "none")
	} else {
		row("answer", "%d", d.Last.Status)
		writeBody(&b, "its body", d.Last.Body)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeHeaders(b *strings.Builder, h map[string][]string) {
	for _, key := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[key] {
			fmt.Fprintf(b, "%-11s %s\n", "header", Printable(key+": "+value))
		}
	}
}

func writeBody(b *strings.Builder, name string, body []byte) {
	fmt.Fprintf(b, "%-11s %d bytes\n", name, len(body))
	switch {
	case len(body) == 0:
	case !utf8.Valid(body):
		fmt.Fprintf(b, "  (not text; -o json has it in base64)\n")
	default:
		for line := range strings.Lines(string(body)) {
			fmt.Fprintf(b, "  %s\n", Printable(strings.TrimRight(line, "\r\n")))
		}
	}
}

// Printable is s without what a terminal would act on: what a caller sent must
// not move the reader's cursor.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
