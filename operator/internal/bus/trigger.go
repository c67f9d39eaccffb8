package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// resumedKey is the metadata of a consumer that holds when it was last resumed.
const resumedKey = "serviceful.dev/resumed"

// callsKey is the metadata of an ordered trigger's consumer that holds how many of
// the messages that it has handed out are called at once; the others wait.
const callsKey = "serviceful.dev/calls"

// paused is how long a consumer is paused that the spec says to pause: until the
// spec says otherwise.
const paused = 100 * 365 * 24 * time.Hour

// ensureTrigger makes a trigger's consumer and clock as its subscription says. One
// that is to be paused hands nothing out when its clock is stopped.
func (l Layout) ensureTrigger(ctx context.Context, s *wiring.Subscription) error {
	if err := l.ensureConsumer(ctx, s); err != nil || s.Schedule == nil {
		return err
	}
	if err := l.ensureClock(ctx, s); err != nil {
		return fmt.Errorf("setting the clock of trigger %q: %w", s.Trigger, err)
	}
	return nil
}

// ensureConsumer makes a trigger's consumer as its subscription says. Where it
// starts is read when it is made: the server does not change that afterwards.
func (l Layout) ensureConsumer(ctx context.Context, s *wiring.Subscription) error {
	ctx, cancel := context.WithTimeout(ctx, layoutTimeout)
	defer cancel()
	err := l.bringConsumer(ctx, s)
	if hasCode(err, codeConsumerNotUnique) { // each message of the work stream is one consumer's alone
		err = fmt.Errorf("%w: %w", ErrQueueHeld, err)
	}
	if err != nil {
		return fmt.Errorf("ensuring consumer %q of stream %q: %w", s.Consumer, s.Stream, err)
	}
	return nil
}

func (l Layout) bringConsumer(ctx context.Context, s *wiring.Subscription) error {
	cfg := l.consumerConfig(s)
	there, err := l.Bus.js.Consumer(ctx, s.Stream, s.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if s.Paused {
			until := time.Now().Add(paused)
			cfg.PauseUntil = &until
		}
		_, err = l.Bus.js.CreateOrUpdateConsumer(ctx, s.Stream, cfg) // beside another pass, which makes the same
		return err
	}
	if err != nil {
		return err
	}
	info := there.CachedInfo()
	cfg.DeliverPolicy, cfg.OptStartTime = info.Config.DeliverPolicy, info.Config.OptStartTime
	ours := cfg.Metadata
	cfg.Metadata = map[string]string{}
	maps.Copy(cfg.Metadata, info.Config.Metadata)
	delete(cfg.Metadata, callsKey)
	maps.Copy(cfg.Metadata, ours)
	resume := info.Paused && !s.Paused
	if resume { // noted first: what is handed out after the resumption is due since then
		cfg.Metadata[resumedKey] = time.Now().UTC().Format(time.RFC3339Nano)
		cfg.MaxAckPending++ // until it is resumed
	}
	if _, err := l.Bus.js.UpdateConsumer(ctx, s.Stream, cfg); hasCode(err, codeConsumerNotUnique) {
		return errors.Join(err, l.park(ctx, s, cfg))
	} else if err != nil {
		return err
	}
	switch {
	case resume:
		if _, err = l.Bus.js.ResumeConsumer(ctx, s.Stream, s.Consumer); err != nil {
			return err
		}
		// A resumption does not wake the server up: what waits would lie there until
		// another message comes, or whoever pulls asks again. This change does.
		cfg.MaxAckPending--
		_, err = l.Bus.js.UpdateConsumer(ctx, s.Stream, cfg)
	case s.Paused && !info.Paused:
		_, err = l.Bus.js.PauseConsumer(ctx, s.Stream, s.Consumer, time.Now().Add(paused))
	}
	return err
}

// park has the consumer of a trigger that waits for another queue let go of the one
// that it had: two that change places would wait for each other. What it filters
// instead is its own, and never stored.
func (l Layout) park(ctx context.Context, s *wiring.Subscription, cfg jetstream.ConsumerConfig) error {
	cfg.FilterSubjects = []string{names.CallFilter(s.Function, s.Trigger)}
	_, err := l.Bus.js.UpdateConsumer(ctx, s.Stream, cfg)
	return err
}

func (l Layout) consumerConfig(s *wiring.Subscription) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable: s.Consumer, FilterSubjects: s.Filters,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: cmp.Or(l.AckWait, AckWait), MaxAckPending: s.InFlight(),
		MaxDeliver: -1, MaxWaiting: 128, DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if s.OrderBy != "" {
		cfg.Metadata = map[string]string{callsKey: strconv.Itoa(s.Concurrency)}
	}
	switch {
	case s.RelaysChanges(): // what was there before anybody watched is no change
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	case s.Stream != names.Events(s.Function.Namespace) || s.Start.All:
	case s.Start.Time.IsZero():
		cfg.DeliverPolicy = jetstream.DeliverNewPolicy
	default:
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Start.Time
	}
	return cfg
}

// Since is when a trigger began to call: when its consumer was made, or last
// resumed. What was stored before is due since then.
func (b *Bus) Since(ctx context.Context, stream, consumer string) (time.Time, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return time.Time{}, explain(fmt.Sprintf("looking up consumer %q of %q", consumer, stream), err)
	}
	info := c.CachedInfo()
	since := info.Created
	if at, err := time.Parse(time.RFC3339Nano, info.Config.Metadata[resumedKey]); err == nil && at.After(since) {
		since = at
	}
	return since, nil
}

// Outstanding is what a consumer has handed out and nobody has settled.
type Outstanding struct {
	Count    int
	Delivery uint64    // of the last message that was handed out: Delivered.Delivery
	Made     time.Time // when the consumer was made
}

// Outstanding looks at a consumer.
func (b *Bus) Outstanding(ctx context.Context, stream, consumer string) (Outstanding, error) {
	c, err := b.js.Consumer(ctx, stream, consumer)
	if err != nil {
		return Outstanding{}, explain(fmt.Sprintf("looking up consumer %q of %q", consumer, stream), err)
	}
	info := c.CachedInfo()
	return Outstanding{Count: info.NumAckPending, Delivery: info.Delivered.Consumer, Made: info.Created}, nil
}
