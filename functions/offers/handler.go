package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

const (
	source        = "/offers"
	allocatedType = "offers.offer.allocated.v1"
	redeemedType  = "offers.offer.redeemed.v1"
	expiredType   = "offers.offer.expired.v1"
	importedType  = "offers.catalogue.imported.v1"
)

var validNumber = regexp.MustCompile(`^[0-9]{16}$`)

type handler struct {
	services *serviceful.Client
	offers   *serviceful.Bucket
	files    *serviceful.Store
	now      func() time.Time
}

func newHandler(services *serviceful.Client, now func() time.Time) http.Handler {
	h := &handler{
		services: services, offers: services.Bucket("offers"), files: services.Store("catalogue"),
		now: func() time.Time { return now().UTC().Truncate(time.Second) },
	}
	mux := http.NewServeMux()
	mux.Handle("GET /offers", serviceful.Handle(h.catalogue))
	mux.Handle("POST /offers", serviceful.Handle(h.create))
	mux.Handle("PUT /catalogue/{file}", serviceful.Handle(h.upload))
	mux.Handle("GET /catalogue/{file}", serviceful.Handle(h.outcome))
	mux.Handle("GET /members/{number}/offers", serviceful.Handle(h.list))
	mux.Handle("GET /members/{number}/history", serviceful.Handle(h.history))
	mux.Handle("POST /members/{number}/offers/{offer}/redemptions", serviceful.Handle(h.redeem))
	mux.Handle("POST /events/joined", serviceful.Handle(h.welcome))
	mux.Handle("POST /events/left", serviceful.Handle(h.erase))
	mux.Handle("POST /events/happened", serviceful.Handle(h.remember))
	mux.Handle("POST /files", serviceful.Handle(h.load))
	mux.Handle("POST /nightly", serviceful.Handle(h.nightly))
	mux.Handle("POST /expiry", serviceful.Handle(h.expire))
	mux.Handle("/", serviceful.Handle(serviceful.NotFound))
	return mux
}

// record is the value of member.<number>. It is never deleted: of a member who left it says that and nothing else, so that a joined
// event that comes after the left one allocates nothing.
type record struct {
	Offers []allocation `json:"offers,omitempty"`
	Left   bool         `json:"left,omitempty"`
}

// allocation is an offer that a member has, as the catalogue had it on that day.
type allocation struct {
	ID       string     `json:"id"`
	Title    string     `json:"title"`
	Expires  *time.Time `json:"expires"`
	Call     string     `json:"call,omitempty"` // the call that redeemed it
	Redeemed *time.Time `json:"redeemed,omitempty"`
	Expired  *time.Time `json:"expired,omitempty"` // the night that told so
}

func (a allocation) state(now time.Time) string {
	switch {
	case a.Redeemed != nil:
		return "redeemed"
	case a.Expires != nil && !now.Before(*a.Expires):
		return "expired"
	}
	return "allocated"
}

const memberKeys = "member."

func memberKey(number string) string { return memberKeys + number }

// readMember returns a member's record and its revision, both empty for a member of whom nothing is known.
func (h *handler) readMember(ctx context.Context, number string) (record, serviceful.Revision, error) {
	var stored record
	if !validNumber.MatchString(number) {
		return stored, "", nil
	}
	revision, err := h.offers.Get(ctx, memberKey(number), &stored)
	if err != nil && !errors.Is(err, serviceful.ErrNotFound) {
		return record{}, "", fmt.Errorf("reading the member's offers: %w", err)
	}
	return stored, revision, nil
}

// readNumber returns the member's number that the event carries.
func readNumber(r *http.Request) (string, error) {
	var data struct {
		Number string `json:"number"`
	}
	if _, err := serviceful.ReadEvent(r, &data); err != nil {
		return "", err
	}
	if !validNumber.MatchString(data.Number) {
		return "", serviceful.NewProblem(http.StatusBadRequest, "the event carries no member number")
	}
	return data.Number, nil
}
