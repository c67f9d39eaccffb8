package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dead"
)

// selection says which dead letters are meant: by flags, or one by one.
type selection struct {
	namespace    string // "": all
	filter       dead.Filter
	since, until string
	ids          []dead.ID
	all          bool // every letter, if nothing else says which
}

func (s *selection) add(f *pflag.FlagSet) {
	f.StringVarP(&s.namespace, "namespace", "n", "", "namespace of the functions (default all)")
	f.StringVar(&s.filter.Function, "function", "", "only of this function")
	f.StringVar(&s.filter.Trigger, "trigger", "", "only of the trigger of this name; _mail: mail that a function sent")
	f.StringSliceVar(&s.filter.Types, "type", nil, "only events of this type, or of a prefix such as offers.*; may be given several times")
	f.StringSliceVar(&s.filter.Reasons, "reason", nil, "only with this reason, such as RetriesUsedUp; may be given several times")
	f.StringVar(&s.since, "since", "", "only what died then or later: how long ago, such as 90s, 2h30m or 7d, or an RFC 3339 time")
	f.StringVar(&s.until, "until", "", "only what died before then")
}

// addAll adds the flag without which a command that changes something wants to
// be told what.
func (s *selection) addAll(f *pflag.FlagSet) {
	f.BoolVar(&s.all, "all", false, "every dead letter, of the namespace if one is given")
}

// resolve reads the flags and the arguments, which are ids.
func (s *selection) resolve(args []string, now time.Time) (err error) {
	for _, arg := range args {
		id, err := dead.ParseID(arg)
		if err != nil {
			return err
		}
		s.ids = append(s.ids, id)
	}
	for _, t := range []struct {
		flag, value string
		to          *time.Time
	}{{"since", s.since, &s.filter.Since}, {"until", s.until, &s.filter.Until}} {
		if t.value == "" {
			continue
		}
		if *t.to, err = dead.ParseTime(t.value, now); err != nil {
			return fmt.Errorf("--%s: %w", t.flag, err)
		}
	}
	if len(s.ids) > 0 && (!s.filter.All() || s.namespace != "" || s.all) {
		return errors.New("give the ids of dead letters, or flags that say which, not both")
	}
	return s.filter.Validate()
}

// meant refuses a selection that nobody has made.
func (s *selection) meant() error {
	if s.filter.All() && len(s.ids) == 0 && !s.all {
		return errors.New("say which dead letters: by id, by flags such as --function or --since, or --all")
	}
	return nil
}

// each calls f with every letter that is meant, without bodies: in each namespace
// the oldest first.
func (s *selection) each(ctx context.Context, b *bus.Bus, f func(dead.Letter) error) error {
	for _, id := range s.ids {
		l, err := b.Letter(ctx, id)
		if err == nil {
			err = f(l)
		}
		if err != nil {
			return err
		}
	}
	if len(s.ids) > 0 {
		return nil
	}
	if s.namespace != "" {
		err := b.Letters(ctx, s.namespace, s.filter, f)
		if errors.Is(err, bus.ErrNotFound) {
			return fmt.Errorf("no function has ever been in namespace %q", s.namespace)
		}
		return err
	}
	namespaces, err := b.Namespaces(ctx)
	if err != nil {
		return err
	}
	slices.Sort(namespaces)
	for _, namespace := range namespaces {
		if err := b.Letters(ctx, namespace, s.filter, f); err != nil && !errors.Is(err, bus.ErrNotFound) {
			return err
		}
	}
	return nil
}

// newest keeps the newest letters of many.
type newest struct {
	limit   int // 0: all
	letters []dead.Letter
	seen    int
}

func (n *newest) add(l dead.Letter) {
	n.seen++
	n.letters = append(n.letters, l)
	if n.limit > 0 && len(n.letters) >= 2*n.limit {
		n.sorted()
	}
}

// sorted is the letters that are kept, newest first.
func (n *newest) sorted() []dead.Letter {
	slices.SortStableFunc(n.letters, func(a, b dead.Letter) int { return b.Death.Died.Compare(a.Death.Died) })
	if n.limit > 0 && len(n.letters) > n.limit {
		clear(n.letters[n.limit:])
		n.letters = n.letters[:n.limit]
	}
	return n.letters
}
