package dispatch_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func onSuccess(to v1alpha1.Destination) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.OnSuccess = &to }
}

func onFailure(to v1alpha1.Destination) func(*v1alpha1.Delivery) {
	return func(d *v1alpha1.Delivery) { d.OnFailure = &to }
}

// outcomes are those that went to an event type and to the queue outcomes, which
// all have the schema that they say.
func (r *rig) outcomes(eventType string) (out []map[string]any) {
	r.t.Helper()
	for _, m := range r.scan(names.Events(shop), "ev."+shop+"."+eventType) {
		out = append(out, r.outcome(m))
	}
	return out
}

func (r *rig) outcome(m *envelope.Message) map[string]any {
	r.t.Helper()
	const schema = "dev.serviceful.outcome.v1.json"
	if got := m.Header.Get("ce-dataschema"); got != "https://serviceful.dev/schemas/"+schema {
		r.t.Errorf("the outcome's schema is %q", got)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	compiled, err := c.Compile("../../../docs/schemas/" + schema)
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := jsonschema.UnmarshalJSON(bytes.NewReader(m.Body))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := compiled.Validate(data); err != nil {
		r.t.Errorf("%s: %v", m.Body, err)
	}
	var got map[string]any
	if err := json.Unmarshal(m.Body, &got); err != nil {
		r.t.Fatal(err)
	}
	for _, key := range []string{"first", "ended"} {
		delete(got, key)
	}
	return got
}

// TestOutcomes checks who is told of what, and what is told.
func TestOutcomes(t *testing.T) {
	told := []func(*v1alpha1.Delivery){
		retry(1), onSuccess(v1alpha1.Destination{EventType: "told.good"}), onFailure(v1alpha1.Destination{EventType: "told.bad"}),
	}
	from := func(more map[string]any, event bool) map[string]any {
		out := map[string]any{"function": "offers", "trigger": "redeem"}
		if event {
			out["event"] = map[string]any{"id": "7", "source": "/test", "type": "in.a"}
		} else {
			out["request"] = map[string]any{"id": "7", "method": "POST", "path": "/redeem/7"}
		}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	tests := map[string]struct {
		answer          http.HandlerFunc
		call            bool
		eventType, want string
		outcome         map[string]any
	}{
		"an event, done": {json200(`{"a": [1]}`), false, "told.good", "", map[string]any{"outcome": "succeeded", "attempts": 1.0, "status": 200.0, "response": map[string]any{"a": []any{1.0}}}},
		"an event, dead": {answer(500, "broken"), false, "told.bad", "", map[string]any{
			"outcome": "dead", "reason": "RetriesUsedUp", "message": "the function answered 500 Internal Server Error", "attempts": 2.0, "status": 500.0, "response": "broken"}},
		"an event, rejected": {answer(400, "\xff"), false, "told.bad", "", map[string]any{
			"outcome": "dead", "reason": "Rejected", "message": "the function answered 400 Bad Request", "attempts": 1.0, "status": 400.0, "responseBase64": "/w=="}},
		"a call, done":   {status(204), true, "told.good", "", map[string]any{"outcome": "succeeded", "attempts": 1.0, "status": 204.0}},
		"a call, failed": {answer(404, ""), true, "told.bad", "", map[string]any{"outcome": "failed", "message": "the function answered 404 Not Found", "attempts": 1.0, "status": 404.0}},
		"a call, dead":   {breakOff, true, "told.bad", "", nil},
		"a large answer": {answer(200, strings.Repeat("x", 64<<10+1)), true, "told.good", "", map[string]any{"outcome": "succeeded", "attempts": 1.0, "status": 200.0, "responseOmitted": true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			trigger := onEvent("redeem", quick(told...), "in.a")
			if test.call {
				trigger = onCall("redeem", quick(told...))
			}
			r := newRig(t, test.answer, []v1alpha1.Trigger{trigger})
			if test.call {
				r.accept("7")
			} else {
				r.publish(newEvent("in.a", "7"))
			}
			eventually(t, "its outcome is told", func() bool { return len(r.outcomes("told.*")) > 0 })
			r.settled()
			got := r.outcomes(test.eventType)
			if all := r.outcomes("told.*"); len(all) != 1 || len(got) != 1 {
				t.Fatalf("told %v", all)
			}
			if test.outcome == nil { // of a connection that breaks
				if got[0]["outcome"] != "dead" || got[0]["status"] != nil || !strings.Contains(got[0]["message"].(string), "broke") {
					t.Errorf("told %v", got[0])
				}
				return
			}
			if want := from(test.outcome, !test.call); !reflect.DeepEqual(got[0], want) {
				t.Errorf("told\n%v, want\n%v", got[0], want)
			}
		})
	}
}

func json200(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(body))
	}
}

// A queue gets the same event as a message, once, however often it is stored, and
// its trigger is called with it.
func TestOutcomesAreStoredBeforeSettling(t *testing.T) {
	var tries atomic.Int64
	d := quick(onSuccess(v1alpha1.Destination{EventType: "told.good"}))
	r := newRig(t, status(200), []v1alpha1.Trigger{onEvent("welcome", d, "in.a")}, func(r *rig) {
		r.config.Events = eventLog{r.config.Events, func([]*event.Event) error {
			if info := r.consumer("EV_shop", "offers_welcome"); info.NumAckPending != 1 {
				t.Errorf("when the outcome is told, %d messages are at work", info.NumAckPending)
			}
			if tries.Add(1) < 3 {
				return errRefused
			}
			return nil
		}}
	})
	r.publish(newEvent("in.a", "1"))
	r.wantCalls(1)
	r.settled()
	if n := len(r.outcomes("told.good")); n != 1 || tries.Load() != 3 {
		t.Errorf("after %d tries %d outcomes were told", tries.Load(), n)
	}
}

func TestOutcomeToAQueue(t *testing.T) {
	d := quick(retry(0), onFailure(v1alpha1.Destination{Queue: "failed"}))
	handled := v1alpha1.Trigger{Name: "handle", Path: "/failed", Queue: &v1alpha1.QueueSource{Name: "failed"}, Delivery: quick()}
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/failed" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}, []v1alpha1.Trigger{onEvent("welcome", d, "in.a"), handled})
	r.publish(someEvents(3)...)
	told := map[string]bool{}
	eventually(t, "all are told of", func() bool {
		for _, c := range r.function.calls() {
			if c.target == "/failed" && c.header.Get("Ce-Type") == "dev.serviceful.outcome.v1" && c.header.Get("Ce-Source") == "/functions/offers/triggers/welcome" && c.header.Get("Serviceful-Hops") == "1" {
				told[c.header.Get("Ce-Id")] = true
			}
		}
		return len(told) == 3
	})
	r.settled()
	if n := len(r.function.calls()); n != 6 || len(r.dead("welcome")) != 3 {
		t.Errorf("%d calls, %d dead letters", n, len(r.dead("welcome")))
	}
}

// The outcomes of a batch are those of its events.
func TestOutcomesOfABatch(t *testing.T) {
	d := quick(batched(4, 5*time.Minute), retry(0), onSuccess(v1alpha1.Destination{EventType: "told.good"}), onFailure(v1alpha1.Destination{EventType: "told.bad"}))
	r := newRig(t, answerBatch(func(w http.ResponseWriter, _ *http.Request, ids []string) { failing(w, "2") }), []v1alpha1.Trigger{onEvent("welcome", d, "in.a")})
	r.publish(someEvents(4)...)
	r.settled()
	good, bad := r.outcomes("told.good"), r.outcomes("told.bad")
	if len(good) != 3 || len(bad) != 1 || bad[0]["event"].(map[string]any)["id"] != "2" || bad[0]["reason"] != "RetriesUsedUp" {
		t.Errorf("told %v and %v", good, bad)
	}
}

// An endless loop of functions comes to an end that says so; another trigger of
// the same function is not touched. A replay begins anew.
func TestLoop(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/on/ping":
			binary(200, "out.pong", r.Header.Get("Ce-Id")+".")(w, r)
		case "/on/pong":
			binary(200, "out.ping", r.Header.Get("Ce-Id")+".")(w, r)
		}
	}
	r := newRig(t, answer, []v1alpha1.Trigger{
		onEvent("ping", quick(), "out.ping"), onEvent("pong", quick(onFailure(v1alpha1.Destination{EventType: "out.ping"})), "out.pong"), onEvent("beside", quick(), "in.a"),
	})
	r.publish(newEvent("out.ping", "x"), newEvent("in.a", "y"))
	r.settled()
	if n := len(r.function.calls()); n != 18 { // of the first event, of 16 that follow, and of the one beside
		t.Errorf("%d calls", n)
	}
	for _, c := range r.function.calls() {
		if id := c.header.Get("Ce-Id"); id != "y" && c.header.Get("Serviceful-Hops") != fmt.Sprint(len(id)-1) {
			t.Errorf("%s has the hops %s", id, c.header.Get("Serviceful-Hops"))
		}
	}
	letters := append(r.dead("ping"), r.dead("pong")...)
	if len(letters) != 1 || len(r.dead("beside")) != 0 || letters[0].Reason != "LoopDetected" || letters[0].Attempts != 0 || !strings.Contains(letters[0].Message, "17 hops") {
		t.Fatalf("dead letters: %+v", letters)
	}
	stored := r.scan(names.Dead(shop), "dead."+shop+".>")[0]
	d, body, err := stored.DeadLetter()
	if err != nil {
		t.Fatal(err)
	}
	r.store(envelope.Replay(stored, d, body, names.EventRetry(offers, d.Trigger), d.Died))
	r.settled()
	if n := len(r.function.calls()); n != 18+17 {
		t.Errorf("%d calls after the replay", n)
	}
}

// A batch is as far from the first cause as the furthest of its events.
func TestHopsOfABatch(t *testing.T) {
	r := newRig(t, binary(200, "out.a", "x"), []v1alpha1.Trigger{onEvent("welcome", quick(batched(3, 5*time.Minute)), "in.a")})
	events := someEvents(3)
	events[1].Hops = 15
	r.publish(events...)
	r.settled()
	calls := r.function.calls()
	if len(calls) != 1 || calls[0].header.Get("Serviceful-Hops") != "15" {
		t.Errorf("called with %v", calls)
	}
	if out := r.scan(names.Events(shop), "ev.shop.out.a"); len(out) != 1 || out[0].Header.Get("Serviceful-Hops") != "16" {
		t.Errorf("answered %+v", out)
	}
}
