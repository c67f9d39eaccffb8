package envelope

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestDeadLetter(t *testing.T) {
	long := bytes.Repeat([]byte("x"), MaxDeadResponse+1)
	tests := map[string]struct {
		last *LastResponse
		want *LastResponse
	}{
		"no answer":    {nil, nil},
		"empty answer": {&LastResponse{Status: 500}, &LastResponse{Status: 500, Body: []byte{}}},
		"an answer":    {&LastResponse{Status: 400, Body: []byte("no")}, &LastResponse{Status: 400, Body: []byte("no"), Length: 2}},
		"a long one":   {&LastResponse{Status: 400, Body: long}, &LastResponse{Status: 400, Body: long[:MaxDeadResponse], Length: MaxDeadResponse}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := storedEvent()
			before := maps.Clone(m.Header)
			give := DeadLetter{Trigger: "welcome", Origin: "42", Reason: "MaxAge", Message: "late", Attempts: 3, First: first, Died: now, Last: test.last}
			dead := Dead(m, offers, give)
			if dead.Subject != "dead.coop.offers.welcome" || dead.ID != "d/offers/welcome/42/0" {
				t.Errorf("got subject %q, id %q", dead.Subject, dead.ID)
			}
			if dead.Header.Get("ce-id") != "1" || len(platform(dead.Header)) != 0 {
				t.Errorf("it carries %v", dead.Header)
			}
			if !maps.EqualFunc(m.Header, before, slices.Equal) || string(m.Body) != "data" {
				t.Errorf("the message itself has become %v, %q", m.Header, m.Body)
			}
			want := give
			want.Function, want.Subject, want.Last = "offers", "ev.coop.member.joined", test.want
			got, body, err := delivered(dead, 1).DeadLetter()
			if err != nil || !reflect.DeepEqual(got, want) || string(body) != "data" {
				t.Errorf("got %+v, %q, %v, want %+v", got, body, err, want)
			}
			if want.Last != nil {
				last := *want.Last
				want.Last, last.Body = &last, nil
			}
			if got, err := (&Message{Header: dead.Header}).Death(); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("by its headers: %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

// TestDeadWithoutHeaders buries a message that is not one of ours.
func TestDeadWithoutHeaders(t *testing.T) {
	dead := Dead(&Message{Subject: "ev.coop.a"}, offers, DeadLetter{Trigger: "t", Origin: "1", Reason: "Malformed", Message: strings.Repeat("é", maxMessage)})
	if d, body, err := dead.DeadLetter(); err != nil || d.Reason != "Malformed" || len(body) != 0 || len(d.Message) != maxMessage+len("...") {
		t.Errorf("got %+v, %q, %v", d, body, err)
	}
}

func TestCorruptDeadLetter(t *testing.T) {
	for name, header := range map[string]string{
		"length exceeds the body": `{"last":{"status":500,"length":5}}`,
		"length below zero":       `{"last":{"status":500,"length":-1}}`,
		"length is huge":          `{"last":{"status":500,"length":9223372036854775807}}`,
		"length is no number":     `{"last":{"length":"4"}}`,
		"not JSON":                `{"last":`,
	} {
		t.Run(name, func(t *testing.T) {
			m := &Message{Header: Header{HeaderDead: {header}}, Body: []byte("data")}
			if d, body, err := m.DeadLetter(); err == nil || !strings.Contains(err.Error(), HeaderDead) || body != nil {
				t.Errorf("got %+v, %q, %v", d, body, err)
			}
		})
	}
}
