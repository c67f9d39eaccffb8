package bus_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/event"
)

func TestPublishOne(t *testing.T) {
	b := start(t)
	e := newEvent("a.b", "1")
	e.Set("datacontenttype", "text/plain")
	e.Set("extension", "caf%C3%A9")
	publish(t, b, e)
	m := stored(t, b, "EV_shop", "ev.shop.a.b")[0]
	got := event.FromStored(m.Header, m.Body)
	for _, a := range e.Attributes {
		if got.Get(a.Name) != a.Value {
			t.Errorf("attribute %s is %q, want %q", a.Name, got.Get(a.Name), a.Value)
		}
	}
	if len(got.Attributes) != len(e.Attributes) || string(got.Data) != "data of 1" {
		t.Errorf("event %+v", got)
	}
}

func TestPublishBatch(t *testing.T) {
	b := start(t)
	publish(t, b, someEvents("a.b", event.MaxBatch)...)
	if got := ids(t, b); !slices.Equal(got, numbers(event.MaxBatch)) {
		t.Errorf("the log holds %d events: %q", len(got), got)
	}
	for _, m := range stored(t, b, "EV_shop", "ev.shop.a.b")[:1] {
		if got := event.FromStored(m.Header, m.Body); len(got.Attributes) != 4 {
			t.Errorf("an event of a batch has attributes %+v", got.Attributes)
		}
	}
}

func TestPublishAgain(t *testing.T) {
	other := newEvent("a.b", "0")
	other.Set("source", "/other")
	tests := map[string]struct {
		again []*event.Event
		want  []string
	}{
		"one":                       {someEvents("a.b", 1), []string{"0", "1", "2"}},
		"all":                       {someEvents("a.b", 3), []string{"0", "1", "2"}},
		"some with others":          {someEvents("a.b", 5), []string{"0", "1", "2", "3", "4"}},
		"the id of another source":  {[]*event.Event{other}, []string{"0", "1", "2", "0"}},
		"the id with another type":  {[]*event.Event{newEvent("a.c", "0")}, []string{"0", "1", "2"}},
		"a batch of another source": {[]*event.Event{other, newEvent("a.b", "9")}, []string{"0", "1", "2", "0", "9"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			publish(t, b, someEvents("a.b", 3)...)
			for range 2 {
				publish(t, b, test.again...)
			}
			if got := ids(t, b); !slices.Equal(got, test.want) {
				t.Errorf("the log holds %q, want %q", got, test.want)
			}
		})
	}
}

// Many senders at once, each event twice, on a bus that groups them.
func TestPublishGrouped(t *testing.T) {
	const senders, each = 50, 10
	b := start(t)
	b.GroupEvents = true
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range 2 * each {
				if err := b.PublishEvents(t.Context(), shop, []*event.Event{newEvent("a.b", fmt.Sprintf("%d-%d", i, j/2))}); err != nil {
					t.Errorf("event %d-%d: %v", i, j/2, err)
				}
			}
		})
	}
	wg.Wait()
	got := ids(t, b)
	slices.Sort(got)
	if len(got) != senders*each || len(slices.Compact(got)) != senders*each {
		t.Errorf("the log holds %d events, want %d", len(got), senders*each)
	}
}

// More batches at once than the server allows to be open.
func TestPublishBatchesAtOnce(t *testing.T) {
	const batches, size = 70, 20
	b := start(t)
	var wg sync.WaitGroup
	for i := range batches {
		wg.Go(func() {
			batch := make([]*event.Event, size)
			for j := range batch {
				batch[j] = newEvent("a.b", fmt.Sprintf("%d-%d", i, j))
			}
			err := b.PublishEvents(t.Context(), shop, batch)
			for try := 1; errors.Is(err, bus.ErrUnavailable) && try < 5; try++ { // a busy machine is late with its answer
				err = b.PublishEvents(t.Context(), shop, batch)
			}
			if err != nil {
				t.Errorf("batch %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if got := ids(t, b); len(got) != batches*size {
		t.Errorf("the log holds %d events, want %d", len(got), batches*size)
	}
}

// A batch that holds an event stored already is all or none as well, when the
// store has no room for the rest.
func TestPublishAgainWhenFull(t *testing.T) {
	_, b, _ := serve(t, bus.EmbeddedConfig{Dir: t.TempDir(), MaxStore: 2 << 20})
	layOut(t, b)
	publish(t, b, newEvent("a.b", "0"))
	fill(t, b)
	batch := someEvents("a.b", 3)
	for _, e := range batch {
		e.Data = make([]byte, 100<<10)
	}
	if err := b.PublishEvents(t.Context(), shop, batch); !errors.Is(err, bus.ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	if got := ids(t, b); !slices.Equal(got, []string{"0"}) {
		t.Errorf("the log holds %q", got)
	}
}
