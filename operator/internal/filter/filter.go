// Package filter decides which events a trigger lets pass: in Knative's
// subscriptions API dialects, or by a pattern of names.
//
// The dialects are knative.dev/eventing's own code; all and any are put together
// here, because Knative's keep a goroutine each. The package is pure and
// imports the api and event.
package filter

import (
	"context"
	"errors"
	"fmt"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// Error is returned by Compile for a filter with an expression that does not
// parse.
type Error struct {
	Index int // of the filter
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("filter %d: %v", e.Index+1, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Compile makes one decision of filters that must all let an event pass. It
// returns nil for no filters, and an *Error for an expression that does not
// parse.
func Compile(filters []v1alpha1.Filter) (func(*event.Event) bool, error) {
	if len(filters) == 0 {
		return nil, nil
	}
	all := make([]predicate, len(filters))
	for i, f := range filters {
		p, err := compile(f)
		if err != nil {
			return nil, &Error{Index: i, Err: err}
		}
		all[i] = p
	}
	return func(e *event.Event) bool {
		ce, err := e.SDK()
		return err == nil && every(all)(ce)
	}, nil
}

type predicate func(*sdk.Event) bool

func compile(f v1alpha1.Filter) (predicate, error) {
	switch {
	case len(f.All) > 0:
		parts, err := leaves(f.All)
		return every(parts), err
	case len(f.Any) > 0:
		parts, err := leaves(f.Any)
		return some(parts), err
	case f.Not != nil:
		p, err := leaf(*f.Not)
		return func(e *sdk.Event) bool { return !p(e) }, err
	}
	return leaf(v1alpha1.LeafFilter{Exact: f.Exact, Prefix: f.Prefix, Suffix: f.Suffix, CESQL: f.CESQL})
}

func every(parts []predicate) predicate {
	return func(e *sdk.Event) bool {
		for _, p := range parts {
			if !p(e) {
				return false
			}
		}
		return true
	}
}

func some(parts []predicate) predicate {
	return func(e *sdk.Event) bool {
		for _, p := range parts {
			if p(e) {
				return true
			}
		}
		return false
	}
}

func leaves(fs []v1alpha1.LeafFilter) ([]predicate, error) {
	out := make([]predicate, len(fs))
	for i, f := range fs {
		p, err := leaf(f)
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}

func leaf(f v1alpha1.LeafFilter) (predicate, error) {
	var dialect eventfilter.Filter
	var err error
	switch {
	case len(f.Exact) > 0:
		dialect, err = subscriptionsapi.NewExactFilter(f.Exact)
	case len(f.Prefix) > 0:
		dialect, err = subscriptionsapi.NewPrefixFilter(f.Prefix)
	case len(f.Suffix) > 0:
		dialect, err = subscriptionsapi.NewSuffixFilter(f.Suffix)
	case f.CESQL != "":
		dialect, err = parseCESQL(f.CESQL)
	default:
		err = errors.New("it has no dialect")
	}
	if err != nil {
		return nil, err
	}
	return func(e *sdk.Event) bool { return passes(dialect, e) }, nil
}

// parseCESQL turns the parser's panics on some malformed expressions into
// errors.
func parseCESQL(expression string) (f eventfilter.Filter, err error) {
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("%q is not a CloudEvents SQL expression", expression)
		}
	}()
	return subscriptionsapi.NewCESQLFilter(expression)
}

// passes runs one dialect. Knative's CESQL panics when an expression does not
// yield true or false: then the event does not pass.
func passes(f eventfilter.Filter, e *sdk.Event) (pass bool) {
	defer func() {
		if recover() != nil {
			pass = false
		}
	}()
	return f.Filter(context.Background(), *e) == eventfilter.PassFilter
}
