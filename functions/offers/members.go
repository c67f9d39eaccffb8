package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

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
	known, _, err := h.readWelcomes(ctx)
	if err != nil {
		return record{}, err
	}
	stored, _, err = serviceful.CreateOrGet(ctx, h.offers, memberKey(number), record{Offers: known.allocations(h.now())})
	if err != nil {
		return record{}, fmt.Errorf("allocating the welcome offers: %w", err)
	}
	return stored, nil
}

// erase removes what is known of a member. The record goes first: from then on nothing is written to the history.
func (h *handler) erase(w http.ResponseWriter, r *http.Request) error {
	number, err := readNumber(r)
	if err != nil {
		return err
	}
	if _, err := h.offers.Put(r.Context(), memberKey(number), record{Left: true}); err != nil {
		return fmt.Errorf("erasing the member's offers: %w", err)
	}
	if err := h.forget(r.Context(), number); err != nil {
		return err
	}
	return serviceful.Answer(w)
}

// maxHistory is how many entries of a member's history are kept: the newest.
const maxHistory = 200

// entry is one thing that happened to a member's offers.
type entry struct {
	ID    string    `json:"id"`   // the event's
	Type  string    `json:"type"` // the event's
	Offer string    `json:"offer"`
	Time  time.Time `json:"time"`
}

// past is the value of history.<number>, the oldest entry first.
type past struct {
	Entries []entry `json:"entries"`
}

func historyKey(number string) string { return "history." + number }

// history answers what happened to a member's offers, in the order in which it did.
func (h *handler) history(w http.ResponseWriter, r *http.Request) error {
	stored := past{Entries: []entry{}}
	if number := r.PathValue("number"); validNumber.MatchString(number) {
		if _, err := h.offers.Get(r.Context(), historyKey(number), &stored); err != nil && !errors.Is(err, serviceful.ErrNotFound) {
			return fmt.Errorf("reading the member's history: %w", err)
		}
	}
	return serviceful.WriteJSON(w, http.StatusOK, stored)
}

// remember adds an event to its member's history, once. That the events of one member come one after the other, in their order, is
// the trigger's doing (orderBy: subject).
func (h *handler) remember(w http.ResponseWriter, r *http.Request) error {
	var data struct {
		Number string `json:"number"`
		Offer  string `json:"offer"`
	}
	event, err := serviceful.ReadEvent(r, &data)
	if err != nil {
		return err
	}
	if !validNumber.MatchString(data.Number) {
		return serviceful.NewProblem(http.StatusBadRequest, "the event carries no member number")
	}
	err = serviceful.RetryConflicts(func() error {
		return h.addEntry(r.Context(), data.Number, entry{ID: event.ID, Type: event.Type, Offer: data.Offer, Time: event.Time})
	})
	if err != nil {
		return err
	}
	member, _, err := h.readMember(r.Context(), data.Number)
	if err == nil && member.Left { // also while the entry was written
		err = h.forget(r.Context(), data.Number)
	}
	if err != nil {
		return err
	}
	return serviceful.Answer(w)
}

func (h *handler) addEntry(ctx context.Context, number string, e entry) error {
	var stored past
	revision, err := h.offers.Get(ctx, historyKey(number), &stored)
	switch {
	case errors.Is(err, serviceful.ErrNotFound):
		_, err = h.offers.Create(ctx, historyKey(number), past{Entries: []entry{e}})
	case err == nil && !slices.ContainsFunc(stored.Entries, func(known entry) bool { return known.ID == e.ID }):
		stored.Entries = append(stored.Entries, e)
		stored.Entries = stored.Entries[max(0, len(stored.Entries)-maxHistory):]
		_, err = h.offers.Update(ctx, historyKey(number), stored, revision)
	}
	if err != nil {
		return fmt.Errorf("writing the member's history: %w", err)
	}
	return nil
}

// forget removes a member's history.
func (h *handler) forget(ctx context.Context, number string) error {
	err := serviceful.RetryConflicts(func() error {
		var stored past
		revision, err := h.offers.Get(ctx, historyKey(number), &stored)
		if err == nil {
			err = h.offers.Delete(ctx, historyKey(number), revision)
		}
		return err
	})
	if err != nil && !errors.Is(err, serviceful.ErrNotFound) {
		return fmt.Errorf("erasing the member's history: %w", err)
	}
	return nil
}
