package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"

	"github.com/serviceful/serviceful/functions/serviceful"
)

var validNumber = regexp.MustCompile(`^[0-9]{16}$`)

// member is what a mail needs of the record that membership keeps; a member who left has neither.
type member struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

// cause is the data of the events that are worth a mail. Only an allocated offer has a title.
type cause struct {
	Number string `json:"number"`
	Title  string `json:"title"`
}

type handler struct {
	services *serviceful.Client
	members  *serviceful.Bucket
}

func newHandler(services *serviceful.Client) http.Handler {
	h := &handler{services: services, members: services.Bucket("members")}
	mux := http.NewServeMux()
	mux.Handle("POST /events/joined", serviceful.Handle(h.mailAbout(welcomeMail)))
	mux.Handle("POST /events/allocated", serviceful.Handle(h.mailAbout(offerMail)))
	mux.Handle("/", serviceful.Handle(serviceful.NotFound))
	return mux
}

// mailAbout handles one type of event by the mail that write makes of it.
func (h *handler) mailAbout(write func(member, cause) serviceful.Mail) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var about cause
		event, err := serviceful.ReadEvent(r, &about)
		if err != nil {
			return err
		}
		if !validNumber.MatchString(about.Number) {
			return serviceful.NewProblem(http.StatusBadRequest, "the event carries no member number")
		}
		to, err := h.read(r.Context(), about.Number)
		if err != nil {
			return err
		}
		if to.Email != "" {
			err = h.mailOnce(r.Context(), event, write(to, about))
		}
		if err != nil {
			return err
		}
		return serviceful.Answer(w)
	}
}

// mailOnce stores one mail per event: the event names it, and all of it comes from the event and the member, so that a repeated
// delivery asks for the very same mail. When the member's name has changed in between, the first mail stands.
func (h *handler) mailOnce(ctx context.Context, event serviceful.Event, mail serviceful.Mail) error {
	err := h.services.Mail(ctx, event.Type+"-"+event.ID, mail)
	if errors.Is(err, serviceful.ErrKeyReused) {
		slog.Info("mail was stored before, with another content", "event_id", event.ID)
		return nil
	}
	if err != nil {
		return fmt.Errorf("mailing the member: %w", err)
	}
	return nil
}

// read returns the member with that number, empty when there is none.
func (h *handler) read(ctx context.Context, number string) (member, error) {
	var stored member
	_, err := h.members.Get(ctx, "member."+number, &stored)
	if err != nil && !errors.Is(err, serviceful.ErrNotFound) {
		return member{}, fmt.Errorf("reading the member: %w", err)
	}
	return stored, nil
}

func welcomeMail(to member, about cause) serviceful.Mail {
	return serviceful.Mail{
		To:      []string{to.Email},
		Subject: "Welcome to the co-op",
		Text:    fmt.Sprintf("Hello %s,\n\nwelcome! Your member number is %s.\n", to.Name, about.Number),
	}
}

func offerMail(to member, about cause) serviceful.Mail {
	return serviceful.Mail{
		To:      []string{to.Email},
		Subject: "You have a new offer",
		Text:    fmt.Sprintf("Hello %s,\n\nyou have a new offer: %s.\n", to.Name, about.Title),
	}
}
