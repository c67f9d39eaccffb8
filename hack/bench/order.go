package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	orderedType   = "bench.ordered.v1"
	unorderedType = "bench.unordered.v1"
	orderKeys     = 1000
	orderTurn     = 10_000  // events of a turn
	orderKilled   = 200_000 // events while the function is killed
)

// keyed publishes events of keys to the ledger.
type keyed struct {
	door
	book *book
	sent *int
}

// deliver publishes so many events, and returns how many end in a second, from the
// first request to the last end.
func (k keyed) deliver(ctx context.Context, count int) (float64, error) {
	want, began := k.book.done+count, time.Now()
	if err := k.postMany(ctx, count, k.next); err != nil {
		return 0, err
	}
	err := k.book.await(ctx, want, 2*patience)
	return float64(count) / time.Unix(0, k.book.last).Sub(began).Seconds(), err
}

// next is the next event. The keys take turns; that of an unordered event is told
// apart.
func (k keyed) next() structured {
	key, n := strconv.Itoa(*k.sent%orderKeys), *k.sent/orderKeys
	if k.eventType == unorderedType {
		key, n = "u"+strconv.Itoa(*k.sent), 0
	}
	*k.sent++
	e := k.event()
	e.ID, e.Subject = fmt.Sprintf("%s/%d", key, n), key
	return e
}

func eventsOrdered(ctx context.Context, w *workshop) ([]result, error) {
	l, err := w.startLedger(ctx, "-f", "hack/bench/sink") // which publishes, for the ledger is killed
	if err != nil {
		return nil, err
	}
	defer l.close()
	sink, err := l.instance(ctx, w.client, "bench.sink")
	if err != nil {
		return nil, err
	}
	way := func(eventType string) keyed {
		return keyed{door{w.client, l.services + "/v1/events", sink.token, eventType, new(atomic.Int64)}, l.book, new(int)}
	}
	unordered, ordered := way(unorderedType), way(orderedType)
	raw, own, err := takeTurns(time.Second, unordered, ordered, func(k keyed, length time.Duration) (float64, error) {
		return k.deliver(ctx, int(length.Seconds()*orderTurn)) // the first turn is a short one
	})
	if err != nil {
		return nil, err
	}
	kills, err := ordered.whileKilled(ctx, l)
	if err != nil {
		return nil, err
	}
	return []result{{
		what: "events-ordered", ours: rate(median(own)), yardstick: rate(median(raw)),
		value: median(own) / median(raw), target: 0.7, least: true,
	}, {
		what: "order violations", ours: fmt.Sprintf("%d, %d kills", l.book.wrong, kills), value: float64(l.book.wrong), unit: "of", target: 0,
	}}, nil
}

// whileKilled delivers events while the function is killed, and returns how often
// it was.
func (k keyed) whileKilled(ctx context.Context, l *ledgerRun) (kills int, err error) {
	want := k.book.done + orderKilled
	return l.killedUntil(ctx, time.Second, math.MaxInt, func() error {
		if err := k.postMany(ctx, orderKilled, k.next); err != nil {
			return err
		}
		return k.book.await(ctx, want, 10*patience)
	})
}

const (
	longCalls  = 10_000
	longKilled = 2_000
	longKills  = 5
	longAtOnce = 200 // the trigger's concurrency
	longTime   = 10 * time.Minute
)

// longMessages has calls take longer than a message may be without a sign of life.
func longMessages(ctx context.Context, w *workshop) ([]result, error) {
	l, err := w.startLedger(ctx, "--ack-wait", "3s")
	if err != nil {
		return nil, err
	}
	defer l.close()
	id := 0
	send := func(count int) error {
		first := id
		id += count
		return sendAll(ctx, senders, count, func(ctx context.Context, n int) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/long/%d", l.gateway, first+n), http.NoBody)
			if err != nil {
				return err
			}
			return do(w.client, r, nil)
		})
	}
	if err := send(longCalls); err != nil {
		return nil, err
	}
	if err := l.book.await(ctx, longCalls, longTime); err != nil {
		return nil, err
	}
	duplicates := l.book.calls - longCalls
	if err := send(longKilled); err != nil {
		return nil, err
	}
	kills, err := l.killedUntil(ctx, 6*time.Second, longKills, func() error { return l.book.await(ctx, longCalls+longKilled, longTime) })
	if err != nil {
		return nil, err
	}
	repeated := l.book.calls - longCalls - longKilled - duplicates
	return []result{
		{what: "long duplicates", ours: strconv.Itoa(duplicates), value: float64(duplicates), unit: "of", target: 0},
		{
			what: "long repeated, a kill", ours: fmt.Sprintf("%d, %d kills", repeated, kills),
			value: float64(repeated) / float64(max(kills, 1)), unit: "of", target: longAtOnce,
		},
	}, nil
}
