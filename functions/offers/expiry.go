package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

const (
	expiryQueue = "expiry"
	inOneLot    = 100                 // keys
	toldLasts   = 30 * 24 * time.Hour // an expired offer stays in a member's list
)

// lot is a message of the queue: what one call looks at.
type lot struct {
	Night time.Time `json:"night"` // the schedule's time
	Keys  []string  `json:"keys"`
}

// nightly puts everything that may expire on a queue, a lot at a time, so that the work is spread and what fails is done again alone.
func (h *handler) nightly(w http.ResponseWriter, r *http.Request) error {
	var night struct {
		Scheduled time.Time `json:"scheduled"`
	}
	if _, err := serviceful.ReadEvent(r, &night); err != nil {
		return err
	}
	for _, prefix := range []string{memberKeys, offerKeys} {
		for after, more := "", true; more; more = after != "" {
			keys, next, err := h.offers.Page(r.Context(), prefix, inOneLot, after)
			if err != nil {
				return err
			}
			if after = next; len(keys) == 0 {
				continue
			}
			body, err := json.Marshal(lot{Night: night.Scheduled, Keys: keys})
			if err != nil {
				return fmt.Errorf("encoding a lot: %w", err)
			}
			if err := h.services.Send(r.Context(), expiryQueue, serviceful.Message{ContentType: "application/json", Body: body}); err != nil {
				return fmt.Errorf("sending a lot: %w", err)
			}
		}
	}
	return serviceful.Answer(w)
}

// expire removes the offers of a lot that have expired from the catalogue, and marks those of members, with an event for each. A
// repeated delivery answers the same events: the one before may have ended before its answer was stored.
func (h *handler) expire(w http.ResponseWriter, r *http.Request) error {
	var work lot
	if _, err := serviceful.ReadEvent(r, &work); err != nil {
		return err
	}
	var events []serviceful.Event
	for _, key := range work.Keys {
		var expired []serviceful.Event
		err := serviceful.RetryConflicts(func() (err error) {
			if number, ok := strings.CutPrefix(key, memberKeys); ok {
				expired, err = h.expireMember(r.Context(), number, work.Night)
				return err
			}
			return h.expireOffer(r.Context(), key, work.Night)
		})
		if err != nil {
			return err
		}
		events = append(events, expired...)
	}
	return serviceful.Answer(w, events...)
}

// expireMember marks what has expired by night. ErrConflict means that the member's offers have changed meanwhile: look again.
func (h *handler) expireMember(ctx context.Context, number string, night time.Time) ([]serviceful.Event, error) {
	stored, revision, err := h.readMember(ctx, number)
	if err != nil || revision == "" {
		return nil, err
	}
	var (
		events  []serviceful.Event
		kept    = make([]allocation, 0, len(stored.Offers))
		changed bool
	)
	for _, a := range stored.Offers {
		switch {
		case a.Expired != nil && night.Sub(*a.Expired) > toldLasts:
			changed = true
			continue
		case a.Expired == nil && a.state(night) == "expired":
			a.Expired, changed = &night, true
		}
		if a.Expired != nil && a.Expired.Equal(night) {
			events = append(events, expiredEvent(number, a))
		}
		kept = append(kept, a)
	}
	if !changed {
		return events, nil
	}
	if _, err := h.offers.Update(ctx, memberKey(number), record{Offers: kept}, revision); err != nil {
		return nil, fmt.Errorf("marking the offers that have expired: %w", err)
	}
	return events, nil
}

func expiredEvent(number string, a allocation) serviceful.Event {
	return serviceful.Event{
		ID:      "expired-" + number + "-" + a.ID,
		Source:  source,
		Type:    expiredType,
		Subject: number,
		Time:    *a.Expired,
		Data:    map[string]any{"number": number, "offer": a.ID, "expired": a.Expires},
	}
}

// expireOffer removes an offer of the catalogue that has expired by night.
func (h *handler) expireOffer(ctx context.Context, key string, night time.Time) error {
	var o offer
	revision, err := h.offers.Get(ctx, key, &o)
	switch {
	case errors.Is(err, serviceful.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("reading an offer: %w", err)
	case o.Expires == nil || night.Before(*o.Expires):
		return nil
	}
	if o.Welcome {
		if err := h.changeWelcomes(ctx, func(known *welcomes) { known.remove(o.ID) }); err != nil {
			return err
		}
	}
	if err := h.offers.Delete(ctx, key, revision); err != nil {
		return fmt.Errorf("removing an offer: %w", err)
	}
	return nil
}
