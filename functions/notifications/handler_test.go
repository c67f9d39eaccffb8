package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/functions/serviceful"
	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
)

const number = "6331740000000008"

var (
	joined = serviceful.Event{
		ID: "joined-" + number, Source: "/membership", Type: "membership.member.joined.v1", Subject: number,
		Data: map[string]string{"number": number},
	}
	allocated = serviceful.Event{
		ID: "allocated-" + number + "-tea", Source: "/offers", Type: "offers.offer.allocated.v1", Subject: number,
		Data: map[string]string{"number": number, "offer": "tea", "title": "Tea for two"},
	}
	mails = map[string]struct {
		path          string
		event         serviceful.Event
		subject, text string
	}{
		"joined":    {"/events/joined", joined, "Welcome", number},
		"allocated": {"/events/allocated", allocated, "You have a new offer", "Tea for two"},
	}
)

// TestMailBreaksOff breaks a delivery off at each of its calls and repeats it: one mail is stored.
func TestMailBreaksOff(t *testing.T) {
	for name, test := range mails {
		t.Run(name, func(t *testing.T) {
			servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
				client := services.Client(t)
				store(t, client, map[string]any{"number": number, "name": "Ada", "email": "ada@example.com"})
				function := newHandler(client)
				broken(func() { servicefultest.Deliver(t, function, test.path, test.event) })
				for range 2 {
					wantNoEvents(t, servicefultest.Deliver(t, function, test.path, test.event))
				}
				stored := services.Mails()
				if len(stored) != 1 {
					t.Fatalf("%d mails stored, want 1", len(stored))
				}
				mail := stored[0]
				if mail.To[0] != "ada@example.com" || !strings.Contains(mail.Subject, test.subject) ||
					!strings.Contains(mail.Text, "Ada") || !strings.Contains(mail.Text, test.text) {
					t.Errorf("mail %+v", mail)
				}
			})
		})
	}
}

func TestTheFirstMailStands(t *testing.T) {
	services := servicefultest.New(t)
	client := services.Client(t)
	function := newHandler(client)
	for _, name := range []string{"Ada", "Ada Lovelace"} {
		store(t, client, map[string]any{"number": number, "name": name, "email": "ada@example.com"})
		wantNoEvents(t, servicefultest.Deliver(t, function, "/events/joined", joined))
	}
	if stored := services.Mails(); len(stored) != 1 || strings.Contains(stored[0].Text, "Lovelace") {
		t.Errorf("stored %+v, want the first mail", stored)
	}
}

func TestNobodyToMail(t *testing.T) {
	for name, record := range map[string]map[string]any{"never there": nil, "has left": {"number": number, "left": true}} {
		t.Run(name, func(t *testing.T) {
			services := servicefultest.New(t)
			client := services.Client(t)
			if record != nil {
				store(t, client, record)
			}
			for _, test := range mails {
				wantNoEvents(t, servicefultest.Deliver(t, newHandler(client), test.path, test.event))
			}
			if stored := services.Mails(); len(stored) != 0 {
				t.Errorf("stored %+v", stored)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	noNumber := joined
	noNumber.Data = map[string]string{}
	tests := map[string]struct {
		request *http.Request
		status  int
	}{
		"no number":   {servicefultest.Delivery(t, "/events/joined", noNumber), 400},
		"no event":    {httptest.NewRequest("POST", "/events/joined", strings.NewReader("{}")), 400},
		"a long body": {longBody(t), 413},
		"other path":  {httptest.NewRequest("GET", "/", nil), 404},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			answer := httptest.NewRecorder()
			newHandler(servicefultest.New(t).Client(t)).ServeHTTP(answer, test.request)
			servicefultest.WantProblem(t, answer, test.status)
		})
	}
}

func longBody(t *testing.T) *http.Request {
	event := joined
	event.Data = strings.Repeat("x", 2<<20)
	return servicefultest.Delivery(t, "/events/joined", event)
}

func store(t *testing.T, client *serviceful.Client, record map[string]any) {
	t.Helper()
	if _, err := client.Bucket("members").Put(t.Context(), "member."+number, record); err != nil {
		t.Fatal(err)
	}
}

func wantNoEvents(t *testing.T, answer *httptest.ResponseRecorder) {
	t.Helper()
	if events := servicefultest.Answered(t, answer); len(events) != 0 {
		t.Errorf("answered %+v, want no events", events)
	}
}
