package contract

import (
	"fmt"
	"slices"
	"sync"
)

var orders = &chapter{
	name: "orders",
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["orders.*"]
triggers:
- {name: g1, event: {types: [orders.g1]}, delivery: {orderBy: subject}}
- {name: g2, event: {types: [orders.g2]}, delivery: {orderBy: subject, retry: 1000, backoffPolicy: linear, backoffDelay: PT0.25S}}
- {name: g3, event: {types: [orders.g3]}, delivery: {orderBy: subject, retry: 0}}`,
	clauses: []clause{
		{"G1", "equal values one at a time, in the log's order", inOrder},
		{"G2", "one that fails is called again in its place, and holds up its value alone", orderHolds},
		{"G3", "a dead one is out of the way", orderGoesOn},
	},
}

// log keeps which events were called, by value, and how many at once.
type log struct {
	mu    sync.Mutex
	ids   map[string][]string
	now   map[string]int
	worst int
}

func (l *log) begin(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	value := r.Header.Get("Ce-Subject")
	l.ids[value] = append(l.ids[value], r.Header.Get("Ce-Id"))
	l.now[value]++
	l.worst = max(l.worst, l.now[value])
}

func (l *log) end(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now[r.Header.Get("Ce-Subject")]--
}

func newLog() *log { return &log{ids: map[string][]string{}, now: map[string]int{}} }

func inOrder(c *C) {
	l := newLog()
	c.on("g1", func(r *request) answer {
		l.begin(r)
		defer l.end(r)
		return answer{}
	})
	want := map[string][]string{}
	for i := range 20 {
		value, id := []string{"a", "b"}[i%2], fmt.Sprintf("%02d", i)
		want[value] = append(want[value], id)
		c.publish("orders.g1", id, "Ce-Subject: "+value)
	}
	c.await("g1", 20)
	c.eventually("all are answered", func() bool { return c.director.answered(c.function, "g1") == 20 })
	if fmt.Sprint(l.ids) != fmt.Sprint(want) || l.worst != 1 {
		c.Errorf("they were called in the order %v, %d of a value at once", l.ids, l.worst)
	}
}

func orderHolds(c *C) {
	mended := make(chan struct{})
	c.on("g2", func(r *request) answer {
		select {
		case <-mended:
		default:
			if r.Header.Get("Ce-Id") == "a1" {
				return status(503)
			}
		}
		return answer{}
	})
	for _, id := range []string{"a1", "a2", "b1", "b2"} {
		c.publish("orders.g2", id, "Ce-Subject: "+id[:1])
	}
	c.eventually("the other value goes on", func() bool { return slices.Contains(ids(c.got("g2")), "b2") })
	if slices.Contains(ids(c.got("g2")), "a2") {
		c.Error("the next of the value was called before the one that fails")
	}
	close(mended)
	c.eventually("the next of the value is called", func() bool { return slices.Contains(ids(c.got("g2")), "a2") })
	if l := c.dead("g2"); len(l) > 0 {
		c.Errorf("it left %+v", l)
	}
}

func orderGoesOn(c *C) {
	c.on("g3", func(r *request) answer {
		if r.Header.Get("Ce-Id") == "1" {
			return status(500)
		}
		return answer{}
	})
	c.publish("orders.g3", "1", "Ce-Subject: a")
	c.publish("orders.g3", "2", "Ce-Subject: a")
	c.only("g3", "1", "2")
	if l := c.awaitDead("g3"); l.EventID != "1" {
		c.Errorf("the dead letter is %+v", l)
	}
}
