package contract

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

var letters = &chapter{
	name: "letters",
	spec: `
scale: {concurrency: 0, max: 1}
emits: ["letters.*"]
bindings: [{queue: {name: l3}}]
triggers:
- {name: l1, event: {types: [letters.l1]}, delivery: {retry: 0}}
- {name: l2, event: {types: [letters.l2]}, delivery: {retry: 0}}
- {name: l2-too, event: {types: [letters.l2]}}
- {name: l3, queue: {name: l3}, delivery: {retry: 0}}
- {name: l4, http: {path: /letters/l4, async: true}, delivery: {retry: 0}}
- {name: l6, event: {types: [letters.l6]}, delivery: {retry: 0}}
- {name: l7, event: {types: [letters.l7]}}
- {name: l7-too, event: {types: [letters.l7]}}`,
	clauses: []clause{
		{"L1", "a dead letter is the whole message, and why it died", letterWhole},
		{"L2", "an event is replayed as it was, to its trigger alone", letterEvent},
		{"L3", "so is a queue's message", letterQueued},
		{"L4", "a call is replayed under its id", letterCall},
		{"L5", "what waited for a removed trigger is dead: TriggerRemoved", letterRemoved},
		{"L6", "kept until it is replayed or purged", letterPurged},
		{"L7", "a part of the event log is sent to one trigger again", logReplayed},
	},
}

func letterWhole(c *C) {
	c.on("l1", func(*request) answer { return answer{Status: 500, Body: "why\xff" + strings.Repeat("x", 64<<10)} })
	c.publish("letters.l1", "1", "Ce-Own: extension")
	id := c.awaitDead("l1").ID
	var whole struct {
		letter
		Headers                     map[string][]string
		Body, LastBody, First, Died string
		LastBodyBase64              []byte
	}
	text := c.serviceful("dead", "show", id, "-o", "json")
	if err := json.Unmarshal([]byte(text[strings.IndexByte(text, '{'):]), &whole); err != nil {
		c.Fatalf("%v: %s", err, text)
	}
	if whole.Body != "1" || whole.EventID != "1" || whole.Trigger != "l1" || whole.Reason != "RetriesUsedUp" || whole.Attempts != 1 || whole.LastStatus != 500 ||
		len(whole.LastBodyBase64) != 64<<10 || whole.First == "" || whole.Died == "" || !slices.Equal(whole.Headers["ce-own"], []string{"extension"}) {
		c.Errorf("it is %+v", whole.letter)
	}
}

// doomed answers 500 until it is mended.
func (c *C) doomed(trigger string) (mend func()) {
	var mended atomic.Bool
	c.on(trigger, func(*request) answer {
		if mended.Load() {
			return answer{}
		}
		return status(500)
	})
	return func() { mended.Store(true) }
}

func (c *C) replay(id string) {
	c.Helper()
	if out := c.serviceful("dead", "replay", id); !strings.Contains(out, "1 replayed") {
		c.Errorf("replaying said %s", out)
	}
}

func letterEvent(c *C) {
	mend := c.doomed("l2")
	c.publish("letters.l2", "1", "Ce-Own: extension")
	c.replay(c.awaitDead("l2").ID)
	c.await("l2", 2)
	c.eventually("it is dead again", func() bool { l := c.dead("l2"); return len(l) == 1 && l[0].Replays == 1 })
	mend()
	c.replay(c.dead("l2")[0].ID)
	c.only("l2", "1", "1", "1")
	c.only("l2-too", "1")
	for _, r := range c.got("l2") {
		if r.attempt() != "1" || r.Header.Get("Ce-Source") != "/letters.l2" || r.Header.Get("Ce-Own") != "extension" || string(r.Body) != "1" {
			c.Errorf("it got %+v", r)
		}
	}
	if l := c.dead("l2"); len(l) > 0 {
		c.Errorf("there still is %+v", l)
	}
}

func letterQueued(c *C) {
	mend := c.doomed("l3")
	id := c.enqueue("l3", "one")
	l := c.awaitDead("l3")
	mend()
	c.replay(l.ID)
	c.only("l3", id, id)
	for _, r := range c.got("l3") {
		if string(r.Body) != "one" || r.attempt() != "1" || r.Header.Get("Ce-Type") != "dev.serviceful.queue.message.v1" {
			c.Errorf("it got %+v", r)
		}
	}
}

func letterCall(c *C) {
	mend := c.doomed("l4")
	location := c.accepted("POST", "/letters/l4?x", "body")
	c.awaitState(location, "dead")
	l := c.awaitDead("l4")
	mend()
	c.replay(l.ID)
	if v := c.awaitState(location, "succeeded"); v.Attempts != 1 {
		c.Errorf("it is said %+v", v)
	}
	if r := c.await("l4", 2)[1]; r.Target != "/letters/l4?x" || string(r.Body) != "body" || "/calls/"+r.Header.Get("Serviceful-Call-Id") != location {
		c.Errorf("it got %+v", r)
	}
}

func letterRemoved(c *C) {
	const keep = "triggers:\n- {name: ping, http: {path: /leaver/ping}}\n"
	held := make(chan struct{})
	c.director.on("leaver", "l5-long", func(*request) answer {
		<-held
		return answer{}
	})
	c.with("leaver", keep+"- {name: l5, paused: true, http: {path: /leaver/l5, async: true}}\n- {name: l5-long, http: {path: /leaver/l5-long, async: true}}")
	location, long := c.accepted("POST", "/leaver/l5", "body"), c.accepted("POST", "/leaver/l5-long", "")
	c.awaitOf("leaver", "l5-long", 1)
	c.apply(c.T, true, function{"leaver", keep})
	close(held)
	if v := c.awaitState(location, "dead"); v.Reason != "TriggerRemoved" || v.Attempts != 0 {
		c.Errorf("it is said %+v", v)
	}
	c.awaitState(long, "succeeded")
	other := *c
	other.function = "leaver"
	if letters := other.dead("l5-long"); len(letters) > 0 {
		c.Errorf("a call that has ended left %+v", letters)
	}
	l := other.awaitDead("l5")
	if out, err := c.command(c.T, "dead", "replay", l.ID); err == nil || !strings.Contains(out, "refused") {
		c.Errorf("replaying it said %v: %s", err, out)
	}
	if len(other.dead("l5")) != 1 {
		c.Error("it is gone, though nobody has it")
	}
}

func letterPurged(c *C) {
	c.doomed("l6")
	c.publish("letters.l6", "1")
	c.publish("letters.l6", "2")
	c.eventually("two are dead", func() bool { return len(c.dead("l6")) == 2 })
	c.serviceful("dead", "purge", c.dead("l6")[0].ID, "--yes")
	if n := len(c.dead("l6")); n != 1 {
		c.Errorf("%d are left", n)
	}
}

func logReplayed(c *C) {
	for i := range 3 {
		c.publish("letters.l7", fmt.Sprint(i))
	}
	c.await("l7", 3)
	c.await("l7-too", 3)
	c.serviceful("replay", "-n", c.ns(), "--trigger", c.function+"/l7", "--from", "1h", "--rate", "0")
	c.only("l7", "0", "0", "1", "1", "2", "2")
	c.only("l7-too", "0", "1", "2")
}
