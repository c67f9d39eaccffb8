package contract

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

var batches = &chapter{
	name: "batches",
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["batches.*"]
triggers:
- {name: b1, path: /batches/b1, event: {types: [batches.b1]}, delivery: {concurrency: 1, batch: {size: 3, window: 20s}}}
- {name: b2, event: {types: [batches.b2]}, delivery: {batch: {size: 3, window: 1s}}}
- {name: b3, event: {types: [batches.b3]}, delivery: {retry: 2, backoffDelay: PT0.25S, batch: {size: 3, window: 20s}}}
- {name: b4, event: {types: [batches.b4]}, delivery: {retry: 2, backoffDelay: PT0.25S, batch: {size: 3, window: 20s}}}
- {name: b5, event: {types: [batches.b5]}, delivery: {retry: 1, backoffDelay: PT0.25S, batch: {size: 3, window: 20s}}}
- {name: b6, event: {types: [batches.b6]}, delivery: {batch: {size: 2, window: 20s}}}
- {name: b6-heard, event: {types: [batches.out]}}`,
	clauses: []clause{
		{"B1", "several events are one call, a JSON array in their order", batchCalled},
		{"B2", "a batch that is not full is called after its window", batchWindow},
		{"B3", "batchItemFailures: those alone are called again", batchFailures},
		{"B4", "failures that cannot be read: all are called again", batchUnreadable},
		{"B5", "an event that has failed is called alone from then on", batchAlone},
		{"B6", "the events of an answer to a batch are published once", batchPublishes},
	},
}

// item is an event of a batch.
type item struct {
	ID, Type, Source, DataContentType string
	Number                            any
	Data                              json.RawMessage
	DataBase64                        []byte `json:"data_base64"`
}

// batch are the events that a call was made with.
func (r *request) batch(c *C) (out []item) {
	c.Helper()
	if err := json.Unmarshal(r.Body, &out); err != nil {
		c.Errorf("the batch is %q: %v", r.Body, err)
	}
	return out
}

// batchIDs are those of the events of a batch, in its order.
func (r *request) batchIDs(c *C) string {
	c.Helper()
	var out []string
	for _, i := range r.batch(c) {
		out = append(out, i.ID)
	}
	return strings.Join(out, " ")
}

// publishBatch publishes events of one type together.
func (c *C) publishBatch(eventType string, ids ...string) {
	c.Helper()
	var all []string
	for _, id := range ids {
		all = append(all, structured(eventType, id))
	}
	c.service("POST", "/v1/events", "["+strings.Join(all, ",")+"]", contentBatch).want(202)
}

func batchCalled(c *C) {
	c.service("POST", "/v1/events", `[
		{"specversion": "1.0", "type": "batches.b1", "source": "/b1", "id": "text", "datacontenttype": "text/plain", "data": "text"},
		{"specversion": "1.0", "type": "batches.b1", "source": "/b1", "id": "bytes", "datacontenttype": "application/own", "data_base64": "AP8="},
		`+structured("batches.b1", "json")+"]", contentBatch).want(202)
	r := c.await("b1", 1)[0]
	if r.Method != "POST" || r.Target != "/batches/b1" || r.Header.Get("Content-Type") != "application/cloudevents-batch+json" || r.attempt() != "1" || r.batchIDs(c) != "text bytes json" {
		c.Fatalf("it got %+v", r)
	}
	b := r.batch(c)
	if string(b[0].Data) != `"text"` || b[0].DataContentType != "text/plain" || string(b[1].DataBase64) != "\x00\xff" || b[1].Source != "/b1" || b[1].Type != "batches.b1" ||
		!strings.Contains(string(b[2].Data), `"json"`) || fmt.Sprint(b[2].Number) != "7" {
		c.Errorf("it got %s", r.Body)
	}
	c.refusedDelivery("batch: {size: 0}", "batch: {size: 1001}")
}

func batchWindow(c *C) {
	c.publishBatch("batches.b2", "1", "2")
	var got []string
	for n := 1; len(got) < 2; n++ {
		got = append(got, strings.Fields(c.await("b2", n)[n-1].batchIDs(c))...)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"1", "2"}) {
		c.Errorf("it got %q", got)
	}
}

// tally counts the calls that each event was in.
type tally struct {
	mu    sync.Mutex
	calls map[string]int
}

func (t *tally) note(c *C, r *request) (sizes int, again bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := r.batch(c)
	for _, i := range all {
		if t.calls[i.ID]++; t.calls[i.ID] > 1 {
			again = true
		}
	}
	return len(all), again
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprint(t.calls)
}

func batchFailures(c *C) {
	t := &tally{calls: map[string]int{}}
	c.on("b3", func(r *request) answer {
		if _, again := t.note(c, r); again {
			return answer{}
		}
		return answer{Header: []string{"Content-Type: application/json"}, Body: `{"batchItemFailures": [{"itemIdentifier": "2"}]}`}
	})
	c.publishBatch("batches.b3", "1", "2", "3")
	c.eventually("it is called again", func() bool { return t.String() == "map[1:1 2:2 3:1]" })
	last := c.got("b3")[len(c.got("b3"))-1]
	if last.batchIDs(c) != "2" || last.attempt() != "2" {
		c.Errorf("called again were %q, with the attempt %s", last.batchIDs(c), last.attempt())
	}
	if l := c.dead("b3"); len(l) > 0 {
		c.Errorf("it left %+v", l)
	}
}

func batchUnreadable(c *C) {
	t := &tally{calls: map[string]int{}}
	c.on("b4", func(r *request) answer {
		if _, again := t.note(c, r); again {
			return answer{Header: []string{"Content-Type: application/json"}, Body: `{"batchItemFailures": []}`}
		}
		return answer{Header: []string{"Content-Type: application/json"}, Body: `{"batchItemFailures": [{"itemIdentifier": "of nobody"}]}`}
	})
	c.publishBatch("batches.b4", "1", "2", "3")
	c.eventually("all are called again", func() bool { return t.String() == "map[1:2 2:2 3:2]" })
}

func batchAlone(c *C) {
	c.on("b5", func(r *request) answer {
		if strings.Contains(r.batchIDs(c), "poison") {
			return status(500)
		}
		return answer{}
	})
	c.publishBatch("batches.b5", "1", "poison", "2")
	l := c.awaitDead("b5")
	if l.EventID != "poison" || l.Reason != "RetriesUsedUp" || l.Attempts != 2 {
		c.Errorf("the dead letter is %+v", l)
	}
	c.eventually("the others are called alone", func() bool { return len(c.got("b5")) == 4 })
	for _, r := range c.got("b5")[1:] {
		if len(r.batch(c)) != 1 || r.attempt() != "2" {
			c.Errorf("called again were %q, with the attempt %s", r.batchIDs(c), r.attempt())
		}
	}
	if n := len(c.dead("b5")); n != 1 {
		c.Errorf("%d are dead", n)
	}
}

func batchPublishes(c *C) {
	c.on("b6", func(*request) answer { return answered(200, "batches.out", "out") })
	c.publishBatch("batches.b6", "1", "2")
	c.only("b6-heard", "out")
}
