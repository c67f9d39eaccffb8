package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	filteredTypes = 100    // on one bus: n0 is the subscriber's, n1 to n99 are foreign
	foreignTurn   = 20_000 // foreign events of a turn
	subscribed    = 5_000  // events of the subscriber's type
	calm          = time.Second
)

// publisherRun is serviceful dev with a function that publishes events of all types,
// numbered.
type publisherRun struct {
	*dev
	door
}

// startPublisher starts it on a folder, with a line of its log for each message that
// the dispatcher settles.
func (w *workshop) startPublisher(ctx context.Context, name, folder string) (publisherRun, error) {
	w.data = filepath.Join(w.dir, name)
	d, err := w.start(ctx, folder, "--verbose")
	if err != nil {
		return publisherRun{}, err
	}
	i, err := d.instance(ctx, w.client, "bench.publisher")
	if err != nil {
		d.stop()
	}
	return publisherRun{d, door{client: w.client, url: d.services + "/v1/events", token: i.token, ids: new(atomic.Int64)}}, err
}

// typed is an event of type number n, which its id begins with.
func (p publisherRun) typed(n int) structured {
	e := p.event()
	e.Type = fmt.Sprintf("bench.filtered.n%d", n)
	e.ID = fmt.Sprintf("n%d/%s", n, e.ID)
	return e
}

// foreign takes the foreign types in turn.
func (p publisherRun) foreign() structured { return p.typed(1 + int(p.ids.Load())%(filteredTypes-1)) }

func (p publisherRun) own() structured { return p.typed(0) }

// cost is the CPU time that serviceful dev takes for each of count events, the NATS
// server in it included, from the first request until it has been calm.
func (p publisherRun) cost(ctx context.Context, count int, next func() structured, done func() error) (time.Duration, error) {
	before, err := p.cpu()
	if err != nil {
		return 0, err
	}
	if err := p.postMany(ctx, count, next); err != nil {
		return 0, err
	}
	if err := done(); err != nil {
		return 0, err
	}
	select {
	case <-time.After(calm):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := p.cpu()
	return (after - before) / time.Duration(count), err
}

// filtered measures what events cost that nobody subscribes to, beside a subscriber
// of another type and without one.
func filtered(ctx context.Context, w *workshop) ([]result, error) {
	without, err := w.startPublisher(ctx, "without", "hack/bench/filtered/publisher")
	if err != nil {
		return nil, err
	}
	defer without.stop()
	with, err := w.startPublisher(ctx, "with", "hack/bench/filtered")
	if err != nil {
		return nil, err
	}
	defer with.stop()
	subscriber, err := with.instance(ctx, w.client, "bench.subscriber")
	if err != nil {
		return nil, err
	}
	raw, own, err := takeTurns(time.Second, without, with, func(p publisherRun, length time.Duration) (time.Duration, error) {
		return p.cost(ctx, int(length.Seconds()*foreignTurn), p.foreign, func() error { return nil }) // the first turn is a short one
	})
	if err != nil {
		return nil, err
	}
	called, err := with.cost(ctx, subscribed, with.own, func() error {
		_, err := subscriber.await(ctx, w.client, subscribed)
		return err
	})
	if err != nil {
		return nil, err
	}
	with.stop()
	reached, strangers := settled(with.output.String())
	if reached-strangers != subscribed {
		return nil, fmt.Errorf("%d events of the subscriber's type were settled, of %d: the numbers mean nothing", reached-strangers, subscribed)
	}
	var more []time.Duration
	for n := range own {
		more = append(more, own[n]-raw[n])
	}
	dispatched := called - median(raw)
	return []result{
		{what: "filtered, dispatched", ours: strconv.Itoa(strangers), value: float64(strangers), unit: "of", target: 0},
		{
			what: "filtered, CPU", ours: inMicros(median(more)), yardstick: inMicros(dispatched),
			value: float64(median(more)) / float64(dispatched), target: 0.05,
		},
	}, nil
}

func inMicros(d time.Duration) string {
	return fmt.Sprintf("%.3g us", float64(d)/float64(time.Microsecond))
}

var settledLine = regexp.MustCompile(`(?m) msg=delivered .*\bevent_id="?n(\d+)/`)

// settled counts the messages that the dispatcher has settled, by its log, and
// those of foreign types among them.
func settled(log string) (all, foreign int) {
	for _, found := range settledLine.FindAllStringSubmatch(log, -1) {
		all++
		if found[1] != "0" {
			foreign++
		}
	}
	return all, foreign
}
