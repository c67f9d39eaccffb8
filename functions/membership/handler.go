package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/serviceful/serviceful/functions/serviceful"
)

const (
	source     = "/membership"
	joinedType = "membership.member.joined.v1"
	leftType   = "membership.member.left.v1"

	numberPrefix = "633174"
	numberDigits = 16

	maxName  = 200 // characters
	maxEmail = 254 // bytes, as in RFC 5321
)

var validPostcode = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 -]{1,10}$`)

// person is what a member tells about themselves.
type person struct {
	Name     string `json:"name,omitempty"`
	Email    string `json:"email,omitempty"`
	Postcode string `json:"postcode,omitempty"`
}

// member is what a caller sees.
type member struct {
	Number string `json:"number"`
	person
}

// record is the value of member.<number>. It is never deleted: of a member who left it keeps the number alone, so that a number is
// given to one member only and a request that comes too late finds that they left.
type record struct {
	member
	Joined bool `json:"joined,omitempty"` // the joined event is published, the join complete
	Left   bool `json:"left,omitempty"`
}

// claim is the value of email.<hash>: the number that the email's join has, or will have when somebody finishes it.
type claim struct {
	Number string `json:"number"`
}

type handler struct {
	services  *serviceful.Client
	members   *serviceful.Bucket
	newNumber func() string
}

func newHandler(services *serviceful.Client, newNumber func() string) http.Handler {
	h := &handler{services: services, members: services.Bucket("members"), newNumber: newNumber}
	mux := http.NewServeMux()
	mux.Handle("POST /members", serviceful.Handle(h.join))
	mux.Handle("GET /members/{number}", serviceful.Handle(h.get))
	mux.Handle("DELETE /members/{number}", serviceful.Handle(h.leave))
	mux.Handle("/", serviceful.Handle(serviceful.NotFound))
	return mux
}

func (h *handler) join(w http.ResponseWriter, r *http.Request) error {
	var p person
	if err := serviceful.ReadJSON(r, &p); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	var joined member
	err := serviceful.RetryConflicts(func() (err error) {
		joined, err = h.finishJoin(r.Context(), p)
		return err
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/members/"+joined.Number)
	return serviceful.WriteJSON(w, http.StatusCreated, joined)
}

// finishJoin does the steps of a join in their order: claim the email, write the member, publish the event, mark the member as
// joined. Whatever step it breaks off at, the next join of the same email goes on from there with the same number; only when the
// last one is done is such a join a duplicate. ErrConflict means that another request has moved the same join on: look again.
func (h *handler) finishJoin(ctx context.Context, p person) (member, error) {
	claimed, claimRevision, err := serviceful.CreateOrGet(ctx, h.members, emailKey(p.Email), claim{Number: h.newNumber()})
	if err != nil {
		return member{}, fmt.Errorf("claiming the email: %w", err)
	}
	key := memberKey(claimed.Number)
	joined := record{member: member{Number: claimed.Number, person: p}}
	stored, revision, err := serviceful.CreateOrGet(ctx, h.members, key, joined)
	switch {
	case err != nil:
		return member{}, fmt.Errorf("writing the member: %w", err)
	case stored.Left || emailKey(stored.Email) != emailKey(p.Email):
		return member{}, h.claimAnotherNumber(ctx, p.Email, claimRevision)
	case stored.Joined:
		return member{}, serviceful.NewProblem(http.StatusConflict, "there is a member with this email")
	}
	if err := h.publish(ctx, joinedType, "joined-", claimed.Number); err != nil {
		return member{}, err
	}
	joined.Joined = true
	if _, err := h.members.Update(ctx, key, joined, revision); err != nil {
		return member{}, fmt.Errorf("marking the member as joined: %w", err)
	}
	return joined.member, nil
}

// claimAnotherNumber is for the claim of a number that turned out to be another member's: numbers are drawn at random. It returns
// ErrConflict once the claim holds another number.
func (h *handler) claimAnotherNumber(ctx context.Context, email string, revision serviceful.Revision) error {
	if _, err := h.members.Update(ctx, emailKey(email), claim{Number: h.newNumber()}, revision); err != nil {
		return fmt.Errorf("claiming another number: %w", err)
	}
	return serviceful.ErrConflict
}

func (h *handler) get(w http.ResponseWriter, r *http.Request) error {
	stored, _, err := h.read(r.Context(), r.PathValue("number"))
	if err != nil {
		return err
	}
	return serviceful.WriteJSON(w, http.StatusOK, stored.member)
}

func (h *handler) leave(w http.ResponseWriter, r *http.Request) error {
	err := serviceful.RetryConflicts(func() error { return h.finishLeave(r.Context(), r.PathValue("number")) })
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// finishLeave does the steps of an erasure: publish the event, free the email, erase the record. The record goes last, because it
// is what a repeated request goes on from. ErrConflict means that another request has changed the member: look again.
func (h *handler) finishLeave(ctx context.Context, number string) error {
	stored, revision, err := h.read(ctx, number)
	if err != nil {
		return err
	}
	if err := h.publish(ctx, leftType, "left-", number); err != nil {
		return err
	}
	if err := h.freeEmail(ctx, stored.member); err != nil {
		return err
	}
	if _, err := h.members.Update(ctx, memberKey(number), record{member: member{Number: number}, Left: true}, revision); err != nil {
		return fmt.Errorf("erasing the member: %w", err)
	}
	return nil
}

// freeEmail removes m's claim of its email. The claim is another member's when this one was freed before and the same person has
// joined again.
func (h *handler) freeEmail(ctx context.Context, m member) error {
	var claimed claim
	revision, err := h.members.Get(ctx, emailKey(m.Email), &claimed)
	if errors.Is(err, serviceful.ErrNotFound) || err == nil && claimed.Number != m.Number {
		return nil
	}
	if err == nil {
		err = h.members.Delete(ctx, emailKey(m.Email), revision)
	}
	if err != nil {
		return fmt.Errorf("freeing the email: %w", err)
	}
	return nil
}

// read returns the record of a member who has not left; any other number is a 404.
func (h *handler) read(ctx context.Context, number string) (record, serviceful.Revision, error) {
	unknown := serviceful.NewProblem(http.StatusNotFound, "there is no member with this number")
	if !validNumber(number) {
		return record{}, "", unknown
	}
	var stored record
	revision, err := h.members.Get(ctx, memberKey(number), &stored)
	if errors.Is(err, serviceful.ErrNotFound) || stored.Left {
		return record{}, "", unknown
	}
	if err != nil {
		return record{}, "", fmt.Errorf("reading the member: %w", err)
	}
	return stored, revision, nil
}

// publish says what happened to a member, with the same event id however often it is said.
func (h *handler) publish(ctx context.Context, eventType, idPrefix, number string) error {
	err := h.services.Publish(ctx, serviceful.Event{
		ID:      idPrefix + number,
		Source:  source,
		Type:    eventType,
		Subject: number,
		Data:    map[string]string{"number": number},
	})
	if err != nil {
		return fmt.Errorf("publishing %s: %w", eventType, err)
	}
	return nil
}

// check trims the fields and returns a 400 for the first that is not acceptable.
func (p *person) check() error {
	p.Name, p.Email, p.Postcode = strings.TrimSpace(p.Name), strings.TrimSpace(p.Email), strings.TrimSpace(p.Postcode)
	address, err := mail.ParseAddress(p.Email)
	switch {
	case p.Name == "" || utf8.RuneCountInString(p.Name) > maxName || strings.ContainsFunc(p.Name, unicode.IsControl):
		return serviceful.NewProblem(http.StatusBadRequest, "name must be 1 to %d characters without control characters", maxName)
	case err != nil || address.Address != p.Email || len(p.Email) > maxEmail:
		return serviceful.NewProblem(http.StatusBadRequest, "email must be one plain address such as ada@example.com")
	case !validPostcode.MatchString(p.Postcode):
		return serviceful.NewProblem(http.StatusBadRequest, "postcode must be 2 to 11 letters, digits, spaces and hyphens")
	}
	return nil
}

func memberKey(number string) string { return "member." + number }

// emailKey is a hash, because an address is no valid key; two spellings that differ in case only are one email.
func emailKey(email string) string {
	hash := sha256.Sum256([]byte(strings.ToLower(email)))
	return "email." + hex.EncodeToString(hash[:])
}

// randomNumber draws a member number: the prefix, nine random digits and the Luhn check digit.
func randomNumber() string {
	number := fmt.Sprintf("%s%09d", numberPrefix, rand.IntN(1_000_000_000))
	return number + string(luhn(number))
}

func validNumber(number string) bool {
	last := len(number) - 1
	return len(number) == numberDigits && strings.Trim(number, "0123456789") == "" && number[last] == luhn(number[:last])
}

// luhn returns the check digit that goes behind digits.
func luhn(digits string) byte {
	sum := 0
	for i := range len(digits) {
		digit := int(digits[len(digits)-1-i] - '0')
		if i%2 == 0 { // every second one, beginning next to the check digit
			digit = digit*2/10 + digit*2%10
		}
		sum += digit
	}
	return byte('0' + (10-sum%10)%10)
}
