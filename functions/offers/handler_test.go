package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
)

const (
	number  = "6331740000000008"
	listed  = "/members/" + number + "/offers"
	aCoffee = listed + "/welcome-coffee/redemptions"
)

var (
	today = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

	joined = serviceful.Event{
		ID: "joined-" + number, Source: "/membership", Type: "membership.member.joined.v1", Subject: number,
		Data: map[string]string{"number": number},
	}
	left = serviceful.Event{
		ID: "left-" + number, Source: "/membership", Type: "membership.member.left.v1", Subject: number,
		Data: map[string]string{"number": number},
	}
)

func TestWelcome(t *testing.T) {
	tests := map[string]struct {
		catalogue []string
		allocated string
	}{
		"an empty catalogue": {allocated: "welcome-coffee:allocated welcome-10:allocated"},
		"a catalogue without welcome offers": {
			catalogue: []string{`{"id":"tea","title":"Tea"}`},
			allocated: "welcome-coffee:allocated welcome-10:allocated",
		},
		"a catalogue with welcome offers": {
			catalogue: []string{`{"id":"tea","title":"Tea"}`, `{"id":"cake","title":"Cake","welcome":true}`},
			allocated: "cake:allocated",
		},
		"a welcome offer that has expired": {
			catalogue: []string{`{"id":"old","title":"Old","welcome":true,"expires":"2026-02-28T00:00:00Z"}`},
			allocated: "welcome-coffee:allocated welcome-10:allocated",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			services := servicefultest.New(t)
			function := newHandler(services.Client(t), at(today))
			for _, offer := range test.catalogue {
				servicefultest.JSON[offerAnswer](t, servicefultest.Call(function, "POST", "/offers", offer), 201)
			}
			events := servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/joined", joined))
			wantOffers(t, function, test.allocated)
			var want []string
			for _, offer := range strings.Fields(test.allocated) {
				want = append(want, allocatedType+" allocated-"+number+"-"+strings.TrimSuffix(offer, ":allocated"))
			}
			wantEvents(t, events, want...)
		})
	}
}

// TestWelcomeBreaksOff breaks a delivery off at each of its calls and repeats it: each offer is allocated once, and announced.
func TestWelcomeBreaksOff(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), at(today))
		broken(func() { servicefultest.Deliver(t, function, "/events/joined", joined) })
		for range 2 {
			events := servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/joined", joined))
			wantEvents(t, events, allocatedType+" allocated-"+number+"-welcome-coffee", allocatedType+" allocated-"+number+"-welcome-10")
			wantOffers(t, function, "welcome-coffee:allocated welcome-10:allocated")
		}
	})
}

func TestWelcomeAgainChangesNothing(t *testing.T) {
	services := servicefultest.New(t)
	function := newHandler(services.Client(t), at(today))
	servicefultest.Deliver(t, function, "/events/joined", joined)
	servicefultest.Answered(t, redeem(function, aCoffee, "call-1"))
	servicefultest.JSON[offerAnswer](t, servicefultest.Call(function, "POST", "/offers", `{"id":"cake","title":"Cake","welcome":true}`), 201)
	before := services.Bucket("offers")["member."+number]

	events := servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/joined", joined))
	wantEvents(t, events, allocatedType+" allocated-"+number+"-welcome-coffee", allocatedType+" allocated-"+number+"-welcome-10")
	if after := services.Bucket("offers")["member."+number]; after != before {
		t.Errorf("the record was %s and is %s", before, after)
	}
}

func TestEventsCarryNoMoreThanTheNumber(t *testing.T) {
	function := newHandler(servicefultest.New(t).Client(t), at(today))
	event := servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/joined", joined))[0]
	want := `{"number":"` + number + `","offer":"welcome-coffee","title":"A coffee on us"}`
	if data := string(event.Data.(json.RawMessage)); data != want || event.Subject != number {
		t.Errorf("subject %q and data %s, want %s", event.Subject, data, want)
	}
}

// TestErase breaks an erasure off at each of its calls and repeats it. A joined event that comes too late brings nothing back.
func TestErase(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), at(today))
		servicefultest.Deliver(t, function, "/events/joined", joined)
		broken(func() { servicefultest.Deliver(t, function, "/events/left", left) })
		wantEvents(t, servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/left", left)))
		wantEvents(t, servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/joined", joined)))
		wantOffers(t, function, "")
		servicefultest.WantProblem(t, redeem(function, aCoffee, "call-1"), 404)
		if stored := services.Bucket("offers"); len(stored) != 1 || stored["member."+number] != `{"left":true}` {
			t.Errorf("stored %v", stored)
		}
	})
}

// TestRedeemBreaksOff breaks a redemption off at each of its calls and repeats it: one effect, and the same answer every time.
func TestRedeemBreaksOff(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), at(today))
		servicefultest.Deliver(t, function, "/events/joined", joined)
		broken(func() { redeem(function, aCoffee, "call-1") })
		function = newHandler(services.Client(t), at(today.Add(time.Hour)))
		first := redeem(function, aCoffee, "call-1")
		wantEvents(t, servicefultest.Answered(t, first), redeemedType+" redeemed-"+number+"-welcome-coffee")
		function = newHandler(services.Client(t), at(today.AddDate(1, 0, 0)))
		if again := redeem(function, aCoffee, "call-1"); again.Code != 200 || again.Body.String() != first.Body.String() {
			t.Errorf("repeated: %d %s, before %s", again.Code, again.Body, first.Body)
		}
		servicefultest.WantProblem(t, redeem(function, aCoffee, "call-2"), 409)
		wantOffers(t, function, "welcome-coffee:redeemed welcome-10:expired")
	})
}

func TestManyRedeemAtOnce(t *testing.T) {
	function := newHandler(servicefultest.New(t).Client(t), at(today))
	servicefultest.Deliver(t, function, "/events/joined", joined)
	var wg sync.WaitGroup
	codes := make(chan int, 20)
	for i := range cap(codes) {
		wg.Go(func() { codes <- redeem(function, aCoffee, fmt.Sprintf("call-%d", i)).Code })
	}
	wg.Wait()
	close(codes)
	count := map[int]int{}
	for code := range codes {
		count[code]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusConflict] != cap(codes)-1 {
		t.Errorf("answers by status: %v, want one 200 and 409 for the others", count)
	}
}

func TestCatalogue(t *testing.T) {
	function := newHandler(servicefultest.New(t).Client(t), at(today))
	if got := servicefultest.Call(function, "GET", "/offers", "").Body.String(); got != `{"offers":[]}`+"\n" {
		t.Errorf("the empty catalogue is %s", got)
	}
	named := servicefultest.Call(function, "POST", "/offers", `{"id":"tea","title":" Tea ","expires":"2027-01-01T00:00:00Z"}`)
	want := `{"id":"tea","title":"Tea","welcome":false,"expires":"2027-01-01T00:00:00Z"}` + "\n"
	if named.Code != 201 || named.Body.String() != want {
		t.Errorf("answered %d %s, want %s", named.Code, named.Body, want)
	}
	servicefultest.WantProblem(t, servicefultest.Call(function, "POST", "/offers", `{"id":"tea","title":"Other"}`), 409)
	unnamed := servicefultest.JSON[offerAnswer](t, servicefultest.Call(function, "POST", "/offers", `{"title":"Cake"}`), 201)
	if unnamed.ID == "" {
		t.Error("an offer without an id got none")
	}
	known := servicefultest.JSON[struct{ Offers []offerAnswer }](t, servicefultest.Call(function, "GET", "/offers", ""), 200)
	if len(known.Offers) != 2 || known.Offers[0].ID == known.Offers[1].ID {
		t.Errorf("the catalogue is %+v", known)
	}
}

func TestBadInput(t *testing.T) {
	noNumber := joined
	noNumber.Data = map[string]string{"number": "ada"}
	tests := map[string]struct {
		request *http.Request
		status  int
	}{
		"no JSON":                     {post("/offers", "x"), 400},
		"no title":                    {post("/offers", `{"id":"tea"}`), 400},
		"a bad id":                    {post("/offers", `{"id":"Tea!","title":"Tea"}`), 400},
		"a time that is none":         {post("/offers", `{"title":"Tea","expires":"soon"}`), 400},
		"a long body":                 {post("/offers", strings.Repeat(" ", 64<<10+1)), 413},
		"an event without a number":   {servicefultest.Delivery(t, "/events/joined", noNumber), 400},
		"a left event without number": {servicefultest.Delivery(t, "/events/left", noNumber), 400},
		"no event":                    {post("/events/joined", `{}`), 400},
		"a redemption without a call": {post(aCoffee, ""), 400},
		"another path":                {post("/", ""), 404},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			services := servicefultest.New(t)
			answer := httptest.NewRecorder()
			newHandler(services.Client(t), at(today)).ServeHTTP(answer, test.request)
			servicefultest.WantProblem(t, answer, test.status)
			if stored := services.Bucket("offers"); len(stored) != 0 {
				t.Errorf("stored %v", stored)
			}
		})
	}
}

func TestUnknownMember(t *testing.T) {
	function := newHandler(servicefultest.New(t).Client(t), at(today))
	wantOffers(t, function, "")
	servicefultest.WantProblem(t, redeem(function, aCoffee, "call-1"), 503) // it comes again
	servicefultest.Deliver(t, function, "/events/joined", joined)
	servicefultest.WantProblem(t, redeem(function, listed+"/nothing/redemptions", "call-1"), 404)
}

type offerAnswer struct{ ID, Title, State string }

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func post(path, body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
}

func redeem(function http.Handler, path, callID string) *httptest.ResponseRecorder {
	r, answer := post(path, ""), httptest.NewRecorder()
	r.Header.Set("Serviceful-Call-Id", callID)
	function.ServeHTTP(answer, r)
	return answer
}

func wantOffers(t *testing.T, function http.Handler, want string) {
	t.Helper()
	answer := servicefultest.JSON[struct{ Offers []offerAnswer }](t, servicefultest.Call(function, "GET", listed, ""), 200)
	if answer.Offers == nil {
		t.Error("the list of offers is null")
	}
	var got []string
	for _, o := range answer.Offers {
		got = append(got, o.ID+":"+o.State)
	}
	if strings.Join(got, " ") != want {
		t.Errorf("offers %v, want %s", got, want)
	}
}

func wantEvents(t *testing.T, events []serviceful.Event, want ...string) {
	t.Helper()
	var got []string
	for _, event := range events {
		got = append(got, event.Type+" "+event.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("answered %v, want %v", got, want)
	}
}
