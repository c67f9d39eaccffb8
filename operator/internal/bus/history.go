package bus

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Rerun sends a part of the event log to one event trigger again.
type Rerun struct {
	Function names.Function
	Trigger  string
	ID       string    // of this run: a subject token without a dash
	Began    time.Time // the run; nothing of it is in the log before
}

// clockSkew is how far the clocks of a run and of the server may be apart.
const clockSkew = time.Hour

// Heard is the subjects of the log that the trigger hears; ErrNoTrigger if there
// is no such event trigger.
func (b *Bus) Heard(ctx context.Context, r Rerun) (subjects []string, err error) {
	c, err := b.trigger(ctx, names.Events(r.Function.Namespace), names.Consumer(r.Function.Name, r.Trigger))
	if err != nil {
		return nil, err
	}
	for _, s := range filters(c.CachedInfo().Config) {
		if s != names.EventRetry(r.Function, r.Trigger) {
			subjects = append(subjects, s)
		}
	}
	return subjects, nil
}

func filters(cfg jetstream.ConsumerConfig) []string {
	if cfg.FilterSubject != "" {
		return []string{cfg.FilterSubject}
	}
	return cfg.FilterSubjects
}

// Window calls f with the headers of each message of a namespace's log on one of
// the subjects, stored from a time on and before another, oldest first.
func (b *Bus) Window(ctx context.Context, namespace string, subjects []string, from, to time.Time, f func(*envelope.Message) error) error {
	at := place{stream: names.Events(namespace), subjects: subjects, from: from, headersOnly: true}
	return b.scan(ctx, at, func(m *envelope.Message, _ bool) (bool, error) {
		if !m.Stored.Before(to) {
			return false, nil
		}
		return true, f(m)
	})
}

// Sent is how far a run has come, as the log itself says: how many events it has
// stored for its trigger, and the sequence of the last one.
func (b *Bus) Sent(ctx context.Context, r Rerun) (count int, last uint64, err error) {
	at := place{
		stream: names.Events(r.Function.Namespace), subjects: []string{names.EventRetry(r.Function, r.Trigger)},
		from: r.Began.Add(-clockSkew), headersOnly: true,
	}
	seen := map[uint64]bool{} // one that was put off is there again
	err = b.scan(ctx, at, func(m *envelope.Message, _ bool) (bool, error) {
		sequence, run, _ := strings.Cut(m.Header.Get(envelope.HeaderOrigin), "-")
		if n, err := strconv.ParseUint(sequence, 10, 64); err == nil && run == r.ID {
			seen[n] = true
			last = max(last, n)
		}
		return true, nil
	})
	return len(seen), last, err
}

// Send stores one event of the log again, for the run's trigger alone. It returns
// ErrNotFound for one that the log no longer keeps.
func (b *Bus) Send(ctx context.Context, r Rerun, sequence uint64, now time.Time) error {
	m, err := b.At(ctx, names.Events(r.Function.Namespace), sequence)
	if err != nil {
		return err
	}
	origin := strconv.FormatUint(sequence, 10) + "-" + r.ID
	_, err = b.Store(ctx, envelope.Again(m, names.EventRetry(r.Function, r.Trigger), origin, now))
	return err
}
