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

	"golang.org/x/sync/errgroup"

	"github.com/serviceful/serviceful/functions/serviceful"
)

const (
	offerKeys  = "offer."  // and the id: an offer
	welcomeKey = "welcome" // the welcome offers

	maxTitle   = 200 // characters
	maxWelcome = 50  // offers that each new member gets
	pageSize   = 100 // offers in an answer
	atOnce     = 16  // calls to the services

	welcomeLasts = 90 * 24 * time.Hour // an offer of ours, from the day of joining
)

var validOffer = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

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

// welcomes is the welcome offers once more as one value, so that an allocation reads it with one call.
type welcomes struct {
	Offers []offer `json:"offers"`
}

// set puts o in, takes it out if it is no welcome offer, or returns false where there is no room.
func (w *welcomes) set(o offer) bool {
	w.remove(o.ID)
	if !o.Welcome {
		return true
	}
	if len(w.Offers) == maxWelcome {
		return false
	}
	w.Offers = append(w.Offers, o)
	return true
}

func (w *welcomes) remove(id string) {
	w.Offers = slices.DeleteFunc(w.Offers, func(o offer) bool { return o.ID == id })
}

// allocations returns what a member who joins now gets.
func (w *welcomes) allocations(now time.Time) []allocation {
	var out []allocation
	for _, o := range w.Offers {
		if o.Expires == nil || now.Before(*o.Expires) {
			out = append(out, allocation{ID: o.ID, Title: o.Title, Expires: o.Expires})
		}
	}
	if len(out) > 0 {
		return out
	}
	expires := now.Add(welcomeLasts)
	for _, o := range ourWelcome {
		out = append(out, allocation{ID: o.ID, Title: o.Title, Expires: &expires})
	}
	return out
}

// catalogue answers a page of the catalogue, in no particular order; next is the after of the page that follows.
func (h *handler) catalogue(w http.ResponseWriter, r *http.Request) error {
	keys, next, err := h.offers.Page(r.Context(), offerKeys, pageSize, r.FormValue("after"))
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	found := make([]offer, len(keys))
	g, ctx := errgroup.WithContext(r.Context())
	g.SetLimit(atOnce)
	for i, key := range keys {
		g.Go(func() error {
			_, err := h.offers.Get(ctx, key, &found[i])
			if errors.Is(err, serviceful.ErrNotFound) { // it was removed meanwhile
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	return serviceful.WriteJSON(w, http.StatusOK, struct {
		Offers []offer `json:"offers"`
		Next   string  `json:"next,omitempty"`
	}{slices.DeleteFunc(found, func(o offer) bool { return o.ID == "" }), next})
}

// create adds an offer. The welcome offers get it first: a repeated request finishes one that broke off.
func (h *handler) create(w http.ResponseWriter, r *http.Request) error {
	var o offer
	if err := serviceful.ReadJSON(r, &o); err != nil {
		return err
	}
	if o.ID == "" {
		o.ID = "offer-" + strings.ToLower(rand.Text())
	}
	if reason := o.check(); reason != "" {
		return serviceful.NewProblem(http.StatusBadRequest, "%s", reason)
	}
	taken := serviceful.NewProblem(http.StatusConflict, "there is an offer with the id %q", o.ID)
	var known offer
	switch _, err := h.offers.Get(r.Context(), offerKeys+o.ID, &known); {
	case err == nil:
		return taken
	case !errors.Is(err, serviceful.ErrNotFound):
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	if o.Welcome {
		full := false
		if err := h.changeWelcomes(r.Context(), func(known *welcomes) { full = !known.set(o) }); err != nil {
			return err
		}
		if full {
			return serviceful.NewProblem(http.StatusConflict, "there are %d welcome offers, and no more are possible", maxWelcome)
		}
	}
	switch _, err := h.offers.Create(r.Context(), offerKeys+o.ID, o); {
	case errors.Is(err, serviceful.ErrConflict):
		return taken
	case err != nil:
		return fmt.Errorf("writing the catalogue: %w", err)
	}
	return serviceful.WriteJSON(w, http.StatusCreated, o)
}

// readWelcomes returns the welcome offers and their revision, which is empty before the first.
func (h *handler) readWelcomes(ctx context.Context) (welcomes, serviceful.Revision, error) {
	var known welcomes
	revision, err := h.offers.Get(ctx, welcomeKey, &known)
	if err != nil && !errors.Is(err, serviceful.ErrNotFound) {
		return welcomes{}, "", fmt.Errorf("reading the welcome offers: %w", err)
	}
	return known, revision, nil
}

// changeWelcomes writes what change makes of the welcome offers, unless that is what they are.
func (h *handler) changeWelcomes(ctx context.Context, change func(*welcomes)) error {
	return serviceful.RetryConflicts(func() error {
		known, revision, err := h.readWelcomes(ctx)
		if err != nil {
			return err
		}
		before := slices.Clone(known.Offers)
		if change(&known); slices.EqualFunc(before, known.Offers, offer.same) {
			return nil
		}
		if revision == "" {
			_, err = h.offers.Create(ctx, welcomeKey, known)
		} else {
			_, err = h.offers.Update(ctx, welcomeKey, known, revision)
		}
		if err != nil {
			return fmt.Errorf("writing the welcome offers: %w", err)
		}
		return nil
	})
}

func (o offer) same(other offer) bool {
	return o.ID == other.ID && o.Title == other.Title && o.Welcome == other.Welcome &&
		(o.Expires == nil) == (other.Expires == nil) && (o.Expires == nil || o.Expires.Equal(*other.Expires))
}

// check trims the title and says what the first field is that is not acceptable; "" for none.
func (o *offer) check() string {
	o.Title = strings.TrimSpace(o.Title)
	switch {
	case !validOffer.MatchString(o.ID):
		return "id must be 1 to 40 lower-case letters, digits and hyphens, and begin with no hyphen"
	case o.Title == "" || utf8.RuneCountInString(o.Title) > maxTitle || strings.ContainsFunc(o.Title, unicode.IsControl):
		return fmt.Sprintf("title must be 1 to %d characters without control characters", maxTitle)
	}
	return ""
}
