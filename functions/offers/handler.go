package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/serviceful/serviceful/functions/serviceful"
)

const (
	source        = "/offers"
	allocatedType = "offers.offer.allocated.v1"
	redeemedType  = "offers.offer.redeemed.v1"

	catalogueKey = "catalogue"
	maxCatalogue = 500 // offers
	maxTitle     = 200 // characters

	welcomeLasts = 90 * 24 * time.Hour // an offer of ours, from the day of joining
)

var (
	validNumber = regexp.MustCompile(`^[0-9]{16}$`)
	validOffer  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
)

// ourWelcome is what a new member gets while the catalogue has no welcome offer.
var ourWelcome = []offer{
	{ID: "welcome-coffee", Title: "A coffee on us", Welcome: true},
	{ID: "welcome-10", Title: "10% off your first shop", Welcome: true},
}

// offer is one entry of the catalogue.
type offer struct {
	ID      string     `json:"id"`
	Title   string     `json:"title"`
	Welcome bool       `json:"welcome"` // each new member gets it
	Expires *time.Time `json:"expires"` // null for never
}

// catalogue is one value, so that an allocation reads it with one call and every change of it is a whole one.
type catalogue struct {
	Offers []offer `json:"offers"`
}

// allocation is an offer that a member has, as the catalogue had it on that day.
type allocation struct {
	ID       string     `json:"id"`
	Title    string     `json:"title"`
	Expires  *time.Time `json:"expires"`
	Call     string     `json:"call,omitempty"` // the call that redeemed it
	Redeemed *time.Time `json:"redeemed,omitempty"`
}

// record is the value of member.<number>. It is never deleted: of a member who left it says that and nothing else, so that a joined
// event that comes after the left one allocates nothing.
type record struct {
	Offers []allocation `json:"offers,omitempty"`
	Left   bool         `json:"left,omitempty"`
}

type handler struct {
	offers *serviceful.Bucket
	now    func() time.Time
}

func newHandler(services *serviceful.Client, now func() time.Time) http.Handler {
	h := &handler{offers: services.Bucket("offers"), now: func() time.Time { return now().UTC().Truncate(time.Second) }}
	mux := http.NewServeMux()
	mux.Handle("GET /offers", serviceful.Handle(h.catalogue))
	mux.Handle("POST /offers", serviceful.Handle(h.create))
	mux.Handle("GET /members/{number}/offers", serviceful.Handle(h.list))
	mux.Handle("POST /members/{number}/offers/{offer}/redemptions", serviceful.Handle(h.redeem))
	mux.Handle("POST /events/joined", serviceful.Handle(h.welcome))
	mux.Handle("POST /events/left", serviceful.Handle(h.erase))
	mux.Handle("/", serviceful.Handle(serviceful.NotFound))
	return mux
}

func (h *handler) catalogue(w http.ResponseWriter, r *http.Request) error {
	known, _, err := h.readCatalogue(r.Context())
	if err != nil {
		return err
	}
	return serviceful.WriteJSON(w, http.StatusOK, known)
}

func (h *handler) create(w http.ResponseWriter, r *http.Request) error {
	var o offer
	if err := serviceful.ReadJSON(r, &o); err != nil {
		return err
	}
	if o.ID == "" {
		o.ID = "offer-" + strings.ToLower(rand.Text())
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := serviceful.RetryConflicts(func() error { return h.add(r.Context(), o) }); err != nil {
		return err
	}
	return serviceful.WriteJSON(w, http.StatusCreated, o)
}

// add puts o into the catalogue. ErrConflict means that the catalogue has changed meanwhile: look again.
func (h *handler) add(ctx context.Context, o offer) error {
	known, revision, err := h.readCatalogue(ctx)
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(known.Offers, func(k offer) bool { return k.ID == o.ID }):
		return serviceful.NewProblem(http.StatusConflict, "there is an offer with the id %q", o.ID)
	case len(known.Offers) == maxCatalogue:
		return serviceful.NewProblem(http.StatusConflict, "the catalogue is full: it holds %d offers", maxCatalogue)
	}
	known.Offers = append(known.Offers, o)
	if revision == "" {
		_, err = h.offers.Create(ctx, catalogueKey, known)
	} else {
		_, err = h.offers.Update(ctx, catalogueKey, known, revision)
	}
	if err != nil {
		return fmt.Errorf("writing the catalogue: %w", err)
	}
	return nil
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	stored, _, err := h.readMember(r.Context(), r.PathValue("number"))
	if err != nil {
		return err
	}
	type item struct {
		ID      string     `json:"id"`
		Title   string     `json:"title"`
		State   string     `json:"state"` // allocated, redeemed or expired
		Expires *time.Time `json:"expires"`
	}
	answer := struct {
		Offers []item `json:"offers"`
	}{Offers: []item{}}
	for _, a := range stored.Offers {
		answer.Offers = append(answer.Offers, item{a.ID, a.Title, a.state(h.now()), a.Expires})
	}
	return serviceful.WriteJSON(w, http.StatusOK, answer)
}

// redeem has its effect once: the member's offer remembers which call redeemed it, and a repetition of that call gets the same
// answer with the same event.
func (h *handler) redeem(w http.ResponseWriter, r *http.Request) error {
	number, call := r.PathValue("number"), r.Header.Get("Serviceful-Call-Id")
	if call == "" {
		return serviceful.NewProblem(http.StatusBadRequest, "an asynchronous call with a Serviceful-Call-Id is needed")
	}
	var redeemed allocation
	err := serviceful.RetryConflicts(func() (err error) {
		redeemed, err = h.redeemOnce(r.Context(), number, r.PathValue("offer"), call)
		return err
	})
	if err != nil {
		return err
	}
	return serviceful.Answer(w, serviceful.Event{
		ID:      "redeemed-" + number + "-" + redeemed.ID,
		Source:  source,
		Type:    redeemedType,
		Subject: number,
		Time:    *redeemed.Redeemed,
		Data:    map[string]any{"number": number, "offer": redeemed.ID, "redeemed": redeemed.Redeemed},
	})
}

// redeemOnce marks the offer as redeemed by call. ErrConflict means that the member's offers have changed meanwhile: look again.
func (h *handler) redeemOnce(ctx context.Context, number, offerID, call string) (allocation, error) {
	stored, revision, err := h.readMember(ctx, number)
	if err != nil {
		return allocation{}, err
	}
	if revision == "" { // the joined event may be on its way: this call comes again
		return allocation{}, serviceful.NewProblem(http.StatusServiceUnavailable, "no offer was allocated to this member yet")
	}
	i := slices.IndexFunc(stored.Offers, func(a allocation) bool { return a.ID == offerID })
	if i < 0 {
		return allocation{}, serviceful.NewProblem(http.StatusNotFound, "the member has no such offer")
	}
	a, now := &stored.Offers[i], h.now()
	switch state := a.state(now); {
	case a.Call == call:
		return *a, nil
	case state != "allocated":
		return allocation{}, serviceful.NewProblem(http.StatusConflict, "the offer is %s", state)
	}
	a.Call, a.Redeemed = call, &now
	if _, err := h.offers.Update(ctx, memberKey(number), stored, revision); err != nil {
		return allocation{}, fmt.Errorf("marking the offer as redeemed: %w", err)
	}
	return *a, nil
}

// welcome allocates the welcome offers to the member who joined, once, and answers an event for each. A repeated delivery answers
// the same events: the one before may have ended before its answer was stored.
func (h *handler) welcome(w http.ResponseWriter, r *http.Request) error {
	number, err := readNumber(r)
	if err != nil {
		return err
	}
	var stored record
	err = serviceful.RetryConflicts(func() (err error) {
		stored, err = h.allocate(r.Context(), number)
		return err
	})
	if err != nil {
		return err
	}
	var events []serviceful.Event
	for _, a := range stored.Offers {
		events = append(events, serviceful.Event{
			ID:      "allocated-" + number + "-" + a.ID,
			Source:  source,
			Type:    allocatedType,
			Subject: number,
			Data:    map[string]string{"number": number, "offer": a.ID, "title": a.Title},
		})
	}
	return serviceful.Answer(w, events...)
}

// allocate returns the member's record, with the welcome offers in it if it is a new one.
func (h *handler) allocate(ctx context.Context, number string) (record, error) {
	stored, revision, err := h.readMember(ctx, number)
	if err != nil || revision != "" {
		return stored, err
	}
	known, _, err := h.readCatalogue(ctx)
	if err != nil {
		return record{}, err
	}
	stored, _, err = serviceful.CreateOrGet(ctx, h.offers, memberKey(number), record{Offers: known.welcome(h.now())})
	if err != nil {
		return record{}, fmt.Errorf("allocating the welcome offers: %w", err)
	}
	return stored, nil
}

func (h *handler) erase(w http.ResponseWriter, r *http.Request) error {
	number, err := readNumber(r)
	if err != nil {
		return err
	}
	if _, err := h.offers.Put(r.Context(), memberKey(number), record{Left: true}); err != nil {
		return fmt.Errorf("erasing the member's offers: %w", err)
	}
	return serviceful.Answer(w)
}

// readCatalogue returns the catalogue and its revision, which is empty before the first offer.
func (h *handler) readCatalogue(ctx context.Context) (catalogue, serviceful.Revision, error) {
	known := catalogue{Offers: []offer{}}
	revision, err := h.offers.Get(ctx, catalogueKey, &known)
	if err != nil && !errors.Is(err, serviceful.ErrNotFound) {
		return catalogue{}, "", fmt.Errorf("reading the catalogue: %w", err)
	}
	return known, revision, nil
}

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

// welcome returns what a member who joins now gets.
func (c catalogue) welcome(now time.Time) []allocation {
	var allocations []allocation
	for _, o := range c.Offers {
		if o.Welcome && (o.Expires == nil || now.Before(*o.Expires)) {
			allocations = append(allocations, allocation{ID: o.ID, Title: o.Title, Expires: o.Expires})
		}
	}
	if len(allocations) > 0 {
		return allocations
	}
	expires := now.Add(welcomeLasts)
	for _, o := range ourWelcome {
		allocations = append(allocations, allocation{ID: o.ID, Title: o.Title, Expires: &expires})
	}
	return allocations
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

// check trims the title and returns a 400 for the first field that is not acceptable.
func (o *offer) check() error {
	o.Title = strings.TrimSpace(o.Title)
	switch {
	case !validOffer.MatchString(o.ID):
		return serviceful.NewProblem(http.StatusBadRequest, "id must be 1 to 40 lower-case letters, digits and hyphens, and begin with no hyphen")
	case o.Title == "" || utf8.RuneCountInString(o.Title) > maxTitle || strings.ContainsFunc(o.Title, unicode.IsControl):
		return serviceful.NewProblem(http.StatusBadRequest, "title must be 1 to %d characters without control characters", maxTitle)
	}
	return nil
}

func memberKey(number string) string { return "member." + number }
