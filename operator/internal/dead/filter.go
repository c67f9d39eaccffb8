package dead

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Filter says which dead letters are meant. The zero Filter means all.
type Filter struct {
	Function string    // "": any
	Trigger  string    // "": any
	Types    []string  // event types, or patterns such as offers.*; empty: any, and what is no event
	Reasons  []string  // empty: any
	Since    time.Time // died then or later; zero: any time
	Until    time.Time // died before; zero: any time
}

// reasons are why a message may have died.
var reasons = []string{
	delivery.ReasonRetriesUsedUp, delivery.ReasonMaxAge, delivery.ReasonRejected, delivery.ReasonEmitRefused,
	delivery.ReasonMalformed, delivery.ReasonTriggerRemoved, delivery.ReasonTooLarge, delivery.ReasonLoopDetected,
}

// Validate refuses what can match nothing.
func (f Filter) Validate() error {
	if f.Function != "" && !label(f.Function) {
		return fmt.Errorf("%q cannot be the name of a function", f.Function)
	}
	if f.Trigger != "" && !label(f.Trigger) {
		return fmt.Errorf("%q cannot be the name of a trigger", f.Trigger)
	}
	for _, t := range f.Types {
		if !names.ValidEventPattern(t) {
			return fmt.Errorf("%q is neither an event type nor a prefix such as offers.*", t)
		}
	}
	for _, r := range f.Reasons {
		if !slices.Contains(reasons, r) {
			return fmt.Errorf("there is no reason %q; it is one of %s", r, strings.Join(reasons, ", "))
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return fmt.Errorf("nothing is since %s and until %s", f.Since.Format(time.RFC3339), f.Until.Format(time.RFC3339))
	}
	return nil
}

// All reports whether f means every letter.
func (f Filter) All() bool {
	return f.Function == "" && f.Trigger == "" && len(f.Types)+len(f.Reasons) == 0 && f.Since.IsZero() && f.Until.IsZero()
}

// Subject selects, in a namespace's dead-letter stream, no less than f means.
func (f Filter) Subject(namespace string) string {
	return names.DeadSubject(names.Function{Namespace: namespace, Name: cmp.Or(f.Function, "*")}, cmp.Or(f.Trigger, "*"))
}

// Match reports whether f means l.
func (f Filter) Match(l Letter) bool {
	switch {
	case f.Function != "" && f.Function != l.Function.Name,
		f.Trigger != "" && f.Trigger != l.Death.Trigger,
		len(f.Reasons) > 0 && !slices.Contains(f.Reasons, l.Death.Reason),
		!f.Since.IsZero() && l.Death.Died.Before(f.Since),
		!f.Until.IsZero() && !l.Death.Died.Before(f.Until):
		return false
	}
	return len(f.Types) == 0 || slices.ContainsFunc(f.Types, func(p string) bool { return l.Type != "" && names.MatchEventType(p, l.Type) })
}
