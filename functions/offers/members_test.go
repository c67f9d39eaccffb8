package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
)

func happened(what, offer string) serviceful.Event {
	return serviceful.Event{
		ID: what + "-" + number + "-" + offer, Source: source, Type: "offers.offer." + what + ".v1", Subject: number, Time: today,
		Data: map[string]string{"number": number, "offer": offer},
	}
}

// TestHistory breaks a delivery off at each of its calls and repeats it: each event is in the history once, in the order of the first
// deliveries.
func TestHistory(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), at(today))
		servicefultest.Deliver(t, function, "/events/joined", joined)
		wantHistory(t, function, "")
		servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/happened", happened("allocated", "tea")))
		broken(func() { servicefultest.Deliver(t, function, "/events/happened", happened("redeemed", "tea")) })
		for _, event := range []serviceful.Event{happened("redeemed", "tea"), happened("expired", "cake"), happened("redeemed", "tea")} {
			servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/happened", event))
		}
		wantHistory(t, function, "allocated:tea redeemed:tea expired:cake")
	})
}

// TestHistoryOfOneWhoLeft checks that an event that comes after the left one brings nothing back.
func TestHistoryOfOneWhoLeft(t *testing.T) {
	services := servicefultest.New(t)
	function := newHandler(services.Client(t), at(today))
	servicefultest.Deliver(t, function, "/events/joined", joined)
	servicefultest.Deliver(t, function, "/events/happened", happened("allocated", "tea"))
	servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/left", left))
	wantHistory(t, function, "")
	servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/happened", happened("redeemed", "tea")))
	wantHistory(t, function, "")
	if stored := services.Bucket("offers"); len(stored) != 1 {
		t.Errorf("stored %v", stored)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	function := newHandler(servicefultest.New(t).Client(t), at(today))
	servicefultest.Deliver(t, function, "/events/joined", joined)
	for i := range maxHistory + 1 {
		servicefultest.Deliver(t, function, "/events/happened", happened("allocated", fmt.Sprintf("offer-%d", i)))
	}
	got := history(t, function)
	if len(got) != maxHistory || got[0] != "allocated:offer-1" {
		t.Errorf("%d entries from %s", len(got), got[0])
	}
}

// TestExpire breaks a lot off at each of its calls and repeats it: each offer that has expired is told of, each time the same, and in
// the nights after not again.
func TestExpire(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), at(today))
		for _, o := range []string{
			`{"id":"day","title":"For a day","welcome":true,"expires":"2026-03-02T00:00:00Z"}`, `{"id":"year","title":"For a year","welcome":true,"expires":"2027-03-01T00:00:00Z"}`,
		} {
			servicefultest.JSON[offerAnswer](t, servicefultest.Call(function, "POST", "/offers", o), 201)
		}
		servicefultest.Deliver(t, function, "/events/joined", joined)
		night := today.AddDate(0, 0, 1)
		function = newHandler(services.Client(t), at(night))
		broken(func() { expire(t, function, night) })
		for range 2 {
			wantEvents(t, expire(t, function, night), expiredType+" expired-"+number+"-day")
		}
		wantEvents(t, expire(t, function, night.AddDate(0, 0, 1)))
		wantOffers(t, function, "day:expired year:allocated")
		known := servicefultest.JSON[struct{ Offers []offerAnswer }](t, servicefultest.Call(function, "GET", "/offers", ""), 200)
		if len(known.Offers) != 1 || known.Offers[0].ID != "year" || strings.Contains(services.Bucket("offers")[welcomeKey], `"day"`) {
			t.Errorf("the catalogue is %+v", known)
		}

		wantEvents(t, expire(t, function, night.AddDate(0, 0, 40)))
		wantOffers(t, function, "year:allocated")
	})
}

// TestExpireLeavesWhatWasRedeemed checks what does not expire: what was redeemed, and what is not there any more.
func TestExpireLeavesWhatWasRedeemed(t *testing.T) {
	services := servicefultest.New(t)
	function := newHandler(services.Client(t), at(today))
	wantEvents(t, expire(t, function, today))
	servicefultest.Deliver(t, function, "/events/joined", joined)
	servicefultest.Answered(t, redeem(function, aCoffee, "call-1"))
	later := today.AddDate(1, 0, 0)
	wantEvents(t, expire(t, newHandler(services.Client(t), at(later)), later), expiredType+" expired-"+number+"-welcome-10")
	servicefultest.Deliver(t, function, "/events/left", left)
	wantEvents(t, expire(t, function, later))
	if stored := services.Bucket("offers")["member."+number]; stored != `{"left":true}` {
		t.Errorf("stored %s", stored)
	}
}

// expire delivers a lot of one member and all offers that a test makes.
func expire(t *testing.T, function http.Handler, night time.Time) []serviceful.Event {
	t.Helper()
	message := serviceful.Event{
		ID: "lot", Source: "/queues/" + expiryQueue, Type: "dev.serviceful.queue.message.v1", Time: night,
		Data: lot{Night: night, Keys: []string{memberKey(number), offerKeys + "day", offerKeys + "year", offerKeys + "gone"}},
	}
	answer := servicefultest.Deliver(t, function, "/expiry", message)
	if answer.Code >= 500 {
		return nil
	}
	return servicefultest.Answered(t, answer)
}

func history(t *testing.T, function http.Handler) []string {
	t.Helper()
	answer := servicefultest.JSON[past](t, servicefultest.Call(function, "GET", "/members/"+number+"/history", ""), 200)
	if answer.Entries == nil {
		t.Error("the history is null")
	}
	var got []string
	for _, e := range answer.Entries {
		what := strings.TrimSuffix(strings.TrimPrefix(e.Type, "offers.offer."), ".v1")
		got = append(got, what+":"+e.Offer)
	}
	return got
}

func wantHistory(t *testing.T, function http.Handler, want string) {
	t.Helper()
	if got := strings.Join(history(t, function), " "); got != want {
		t.Errorf("the history is %q, want %q", got, want)
	}
}

// TestNightly breaks the night off at each of its calls and repeats it: every member and every offer is in some lot, and the lots end
// what has expired.
func TestNightly(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), at(today))
		servicefultest.JSON[offerAnswer](t, servicefultest.Call(function, "POST", "/offers", `{"id":"day","title":"For a day","welcome":true,"expires":"2026-03-02T00:00:00Z"}`), 201)
		servicefultest.Deliver(t, function, "/events/joined", joined)
		night := today.AddDate(0, 0, 1)
		fired := serviceful.Event{
			ID: night.Format(time.RFC3339), Source: "/functions/offers/triggers/nightly", Type: "dev.serviceful.schedule.fired.v1", Time: night,
			Data: map[string]any{"scheduled": night},
		}
		broken(func() { servicefultest.Deliver(t, function, "/nightly", fired) })
		servicefultest.Answered(t, servicefultest.Deliver(t, function, "/nightly", fired))
		told := map[string]bool{}
		for i, message := range services.Messages(expiryQueue) {
			for _, event := range servicefultest.Answered(t, servicefultest.DeliverMessage(t, function, "/expiry", expiryQueue, fmt.Sprint(i), message)) {
				told[event.ID] = true
			}
		}
		if len(told) != 1 || !told["expired-"+number+"-day"] {
			t.Errorf("told %v", told)
		}
		if _, there := services.Bucket("offers")[offerKeys+"day"]; there {
			t.Error("the offer is in the catalogue still")
		}
	})
}
