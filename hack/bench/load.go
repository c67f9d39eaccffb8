package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// saturate has each of senders repeat call, one after the other, for d, and
// returns how long the calls took. The first error ends it.
func saturate(ctx context.Context, senders int, d time.Duration, call func(context.Context) error) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		all      sync.WaitGroup
		took     = make([][]time.Duration, senders)
		deadline = time.Now().Add(d)
	)
	for sender := range senders {
		all.Go(func() {
			for began := time.Now(); began.Before(deadline) && ctx.Err() == nil; {
				if err := call(ctx); err != nil {
					cancel(err)
					return
				}
				now := time.Now()
				took[sender] = append(took[sender], now.Sub(began))
				began = now
			}
		})
	}
	all.Wait()
	var flat []time.Duration
	for _, t := range took {
		flat = append(flat, t...)
	}
	return flat, context.Cause(ctx)
}

// sendAll has senders make count calls, numbered from 0. The first error ends it.
func sendAll(ctx context.Context, senders, count int, call func(ctx context.Context, n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for n := sender; n < count && ctx.Err() == nil; n += senders {
				if err := call(ctx, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// keepPace begins call perSecond times a second for d, each in a goroutine of its
// own, so that a slow one delays no other. It returns how many it began.
func keepPace(ctx context.Context, perSecond int, d time.Duration, call func(context.Context) error) (int, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		all   sync.WaitGroup
		began = time.Now()
		count = int(d.Seconds() * float64(perSecond))
	)
	for n := range count {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
		all.Go(func() {
			if err := call(ctx); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	return count, context.Cause(ctx)
}

const (
	sentType  = "bench.sent.v1"
	eventSize = 256 // bytes of data
	published = 500 // events in one request, of many
)

// door is where events are POSTed: the services door, or the sink itself.
type door struct {
	client    *http.Client
	url       string
	token     string
	eventType string
	ids       *atomic.Int64 // the last event id
}

// of is the same door for events of another type.
func (d door) of(eventType string) door {
	d.eventType = eventType
	return d
}

func (d door) nextID() string { return strconv.FormatInt(d.ids.Add(1), 10) }

// timed is the data of an event: the time in 8 bytes, and as much as to be of size.
func timed() []byte {
	data := make([]byte, eventSize)
	binary.BigEndian.PutUint64(data, uint64(time.Now().UnixNano()))
	return data
}

// post sends one event with the time in its data. The request is the same at
// every door.
func (d door) post(ctx context.Context) error {
	data := timed()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(data))
	if err != nil {
		return err
	}
	r.Header = http.Header{
		"Authorization":  {"Bearer " + d.token},
		"Content-Type":   {"application/octet-stream"},
		"Ce-Specversion": {"1.0"},
		"Ce-Id":          {d.nextID()},
		"Ce-Source":      {"/bench"},
		"Ce-Type":        {d.eventType},
	}
	return do(d.client, r, nil)
}

// structured is an event of a request with many.
type structured struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject,omitempty"`
	ContentType string `json:"datacontenttype"`
	Data        []byte `json:"data_base64"`
}

// event is one of the door's type with the time in its data.
func (d door) event() structured {
	return structured{SpecVersion: "1.0", ID: d.nextID(), Source: "/bench", Type: d.eventType, ContentType: "application/octet-stream", Data: timed()}
}

// postMany sends count events, one after the other, in requests of many.
func (d door) postMany(ctx context.Context, count int, next func() structured) error {
	for sent := 0; sent < count; {
		batch := make([]structured, 0, published)
		for ; len(batch) < published && sent < count; sent++ {
			batch = append(batch, next())
		}
		body, err := json.Marshal(batch)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header = http.Header{"Authorization": {"Bearer " + d.token}, "Content-Type": {"application/cloudevents-batch+json"}}
		if err := do(d.client, r, nil); err != nil {
			return err
		}
	}
	return nil
}

// arrived is what the sink says came since it was asked last.
type arrived struct {
	Last      int64           `json:"last"` // in nanoseconds since 1970
	Latencies []time.Duration `json:"latencies"`
	Failed    int             `json:"failed"` // calls that the sink has failed
}

// await waits until n events arrived at the sink.
func (i instance) await(ctx context.Context, client *http.Client, n int) (arrived, error) {
	var (
		all    arrived
		failed error
	)
	err := poll(ctx, 20*time.Millisecond, patience, func() bool {
		some, err := i.arrivals(ctx, client)
		failed = err
		all.Last = max(all.Last, some.Last)
		all.Latencies = append(all.Latencies, some.Latencies...)
		all.Failed += some.Failed
		return failed != nil || len(all.Latencies) >= n
	})
	if err = errors.Join(err, failed); err != nil {
		return all, fmt.Errorf("waiting for %d events, of which %d arrived: %w", n, len(all.Latencies), err)
	}
	if len(all.Latencies) > n {
		return all, fmt.Errorf("%d events became %d: the numbers mean nothing", n, len(all.Latencies))
	}
	return all, nil
}

// arrivals are what arrived since they were asked for last.
func (i instance) arrivals(ctx context.Context, client *http.Client) (some arrived, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url+"/drain", http.NoBody)
	if err == nil {
		err = do(client, r, &some)
	}
	return some, err
}

func get(ctx context.Context, client *http.Client, url string) error {
	return getJSON(ctx, client, url, nil)
}

// getJSON reads the answer, unless that is nil.
func getJSON(ctx context.Context, client *http.Client, url string, answer any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	return do(client, r, answer)
}

// do sends a request and reads a 2xx answer, as JSON into answer unless that is nil.
func do(client *http.Client, r *http.Request, answer any) error {
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // for the message only
		return fmt.Errorf("%s %s answered %s: %s", r.Method, r.URL, response.Status, body)
	}
	if answer != nil {
		return json.NewDecoder(response.Body).Decode(answer)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
