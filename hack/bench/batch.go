package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

const (
	batchedType = "bench.batched.v1" // the sink gets it 100 in a call
	burst       = 10_000             // events of one turn
	published   = 500                // of these, in one request
)

// bursts is the way of many events to the sink at once.
type bursts struct {
	eventPath
	eventType string
}

// deliver publishes a burst while the sink holds its answers, and returns how many
// events arrive in a second then.
func (b bursts) deliver(ctx context.Context, count int) (float64, error) {
	if err := b.tell(ctx, "/hold"); err != nil {
		return 0, err
	}
	for sent := 0; sent < count; sent += published {
		if err := b.publish(ctx); err != nil {
			return 0, errors.Join(err, b.tell(ctx, "/release"))
		}
	}
	began := time.Now()
	if err := b.tell(ctx, "/release"); err != nil {
		return 0, err
	}
	all, err := b.sink.await(ctx, b.drain, count)
	return float64(count) / time.Unix(0, all.Last).Sub(began).Seconds(), err
}

// tell has the sink hold what comes, or release it.
func (b bursts) tell(ctx context.Context, what string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.sink.url+what, http.NoBody)
	if err != nil {
		return err
	}
	return do(b.drain, r, nil)
}

func (b bursts) publish(ctx context.Context) error {
	type structured struct {
		SpecVersion string `json:"specversion"`
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		ContentType string `json:"datacontenttype"`
		Data        []byte `json:"data_base64"`
	}
	batch := make([]structured, published)
	for i := range batch {
		data := make([]byte, eventSize)
		binary.BigEndian.PutUint64(data, uint64(time.Now().UnixNano()))
		batch[i] = structured{"1.0", strconv.FormatInt(b.ids.Add(1), 10), "/bench", b.eventType, "application/octet-stream", data}
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header = http.Header{"Authorization": {"Bearer " + b.token}, "Content-Type": {"application/cloudevents-batch+json"}}
	return do(b.client, r, nil)
}

func eventsBatched(ctx context.Context, w *workshop) ([]result, error) {
	s, err := w.startSink(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	_, door := s.eventPaths(w)
	single, batched, err := takeTurns(time.Second, bursts{door, eventType}, bursts{door, batchedType}, func(b bursts, length time.Duration) (float64, error) {
		return b.deliver(ctx, int(length.Seconds()*burst)) // the first turn is a short one
	})
	if err != nil {
		return nil, err
	}
	return []result{{
		what: "events-batched", ours: rate(median(batched)), yardstick: rate(median(single)),
		value: median(batched) / median(single), target: 4, least: true,
	}}, nil
}
