package gateway

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// take receives the next call of one of shop's triggers, as the dispatcher does.
func (f *fixture) take(trigger string) *bus.Delivered {
	f.Helper()
	got := make(chan *bus.Delivered, 100)
	stop, err := f.bus.Consume(f.Context(), names.Work("shop"), names.Consumer("shop", trigger), 1, func(d *bus.Delivered) { got <- d })
	if err != nil {
		f.Fatal(err)
	}
	defer stop()
	return receive(f, "the call is handed out", got)
}

// end stores the result of a call and settles it.
func (f *fixture) end(d *bus.Delivered, state envelope.State, answer *envelope.Answer) {
	f.Helper()
	item, _ := names.ParseWork(d.Subject)
	ending := bus.Ending{Function: shop, Trigger: item.Trigger, Verdict: delivery.Verdict{Attempts: 2}, Last: answer, Now: time.Now()}
	err := f.bus.StoreResult(f.Context(), item, state, ending)
	if state == envelope.DeadState {
		ending.Verdict.Reason, ending.Verdict.Message = "RetriesExhausted", "it answered 500"
		err = f.bus.Bury(f.Context(), &d.Message, ending)
	}
	if err != nil {
		f.Fatal(err)
	}
	if err := d.Ack(); err != nil {
		f.Fatal(err)
	}
}

// call is what GET /calls/<id> says.
func (f *fixture) call(id string) callView {
	f.Helper()
	r := f.send("GET /calls/"+id+" HTTP/1.1", "")
	var v callView
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil || r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Cache-Control") != "no-store" {
		f.Fatalf("got %s %v %s", r.Status, r.Header, r.body)
	}
	return v
}

// order makes a call.
func (f *fixture) order() string {
	f.Helper()
	return f.accepted(f.post("/orders/7", "body", false))
}

// cancel tries to cancel a call.
func (f *fixture) cancel(id string) reply {
	f.Helper()
	return f.send("DELETE /calls/"+id+" HTTP/1.1", "")
}

// TestCallLives follows a call from its queue to its end.
func TestCallLives(t *testing.T) {
	f := newFixture(t)
	id := f.order()
	if v := f.call(id); !reflect.DeepEqual(v, callView{ID: id, State: envelope.Queued}) {
		t.Errorf("waiting: %+v", v)
	}
	d := f.take("order")
	f.eventually("it is running", func() bool { return f.call(id).State == envelope.Running })
	f.wantProblem(f.cancel(id), 409, "call-started")
	retry := envelope.Retry(&d.Message, d.Subject, envelope.Progress{Attempts: 1, Tries: 1, Origin: id, First: d.Stored, Last: envelope.Try{Status: 500, Problem: "it answered 500"}}, time.Now().Add(time.Hour))
	if _, err := f.bus.Store(t.Context(), retry); err != nil {
		t.Fatal(err)
	}
	d.Ack()
	f.eventually("it waits for its second attempt", func() bool {
		return reflect.DeepEqual(f.call(id), callView{ID: id, State: envelope.Queued, Attempts: 1, Message: "it answered 500"})
	})
}

func TestCallEnds(t *testing.T) {
	header := http.Header{"Content-Type": {"text/plain"}, "Set-Cookie": {"a", "b"}}
	tests := map[string]struct {
		state  envelope.State
		answer *envelope.Answer
		want   callView
	}{
		"text": {envelope.Succeeded, &envelope.Answer{Status: 201, Header: header, Body: []byte("né <b>")},
			callView{State: envelope.Succeeded, Response: &responseView{Status: 201, Headers: header, Body: "né <b>"}}},
		"binary": {envelope.Succeeded, &envelope.Answer{Status: 200, Body: []byte("\x00\xff")},
			callView{State: envelope.Succeeded, Response: &responseView{Status: 200, BodyBase64: []byte("\x00\xff")}}},
		"nothing": {envelope.Succeeded, &envelope.Answer{Status: 204},
			callView{State: envelope.Succeeded, Response: &responseView{Status: 204}}},
		"truncated": {envelope.Succeeded, &envelope.Answer{Status: 200, Body: []byte("a"), Truncated: true},
			callView{State: envelope.Succeeded, Response: &responseView{Status: 200, Body: "a", Truncated: true}}},
		"failed": {envelope.Failed, &envelope.Answer{Status: 404, Body: []byte("no such order")},
			callView{State: envelope.Failed, Response: &responseView{Status: 404, Body: "no such order"}}},
		"dead": {envelope.DeadState, &envelope.Answer{Status: 500, Body: []byte("broken")},
			callView{State: envelope.DeadState, Reason: "RetriesExhausted", Message: "it answered 500", Response: &responseView{Status: 500, Body: "broken"}}},
		"dead without an answer": {envelope.DeadState, nil,
			callView{State: envelope.DeadState, Reason: "RetriesExhausted", Message: "it answered 500"}},
	}
	f := newFixture(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			id := f.order()
			f.end(f.take("order"), test.state, test.answer)
			test.want.ID, test.want.Attempts = id, 2
			f.eventually("it has ended", func() bool { return f.call(id).State == test.state })
			if v := f.call(id); !reflect.DeepEqual(v, test.want) {
				t.Errorf("got %+v %+v, want %+v %+v", v, v.Response, test.want, test.want.Response)
			}
			f.wantProblem(f.cancel(id), 409, "call-started")
			if r := f.send("HEAD /calls/"+id+" HTTP/1.1", ""); r.StatusCode != 200 || r.body != "" {
				t.Errorf("HEAD: %s %q", r.Status, r.body)
			}
		})
	}
}

// TestCancel checks that a call that waits can be cancelled, and is not called.
func TestCancel(t *testing.T) {
	f := newFixture(t)
	id, other := f.order(), f.order()
	if r := f.cancel(id); r.StatusCode != 204 || r.body != "" {
		t.Fatalf("got %s %s", r.Status, r.body)
	}
	f.wantProblem(f.send("GET /calls/"+id+" HTTP/1.1", ""), 404, "no-such-call")
	f.wantProblem(f.cancel(id), 404, "no-such-call")
	if d := f.take("order"); d.Subject != names.Call(shop, "order", other) {
		t.Errorf("%s was handed out", d.Subject)
	}
}

// TestCancelPutOff checks that a call that waits for its next attempt can be
// cancelled too, whatever was handed out meanwhile.
func TestCancelPutOff(t *testing.T) {
	f := newFixture(t)
	id := f.order()
	d := f.take("order")
	retry := envelope.Retry(&d.Message, d.Subject, envelope.Progress{Attempts: 1, Tries: 1, Origin: id, First: d.Stored}, time.Now().Add(time.Hour))
	if _, err := f.bus.Store(t.Context(), retry); err != nil {
		t.Fatal(err)
	}
	d.Ack()
	f.order()
	f.take("order")
	f.eventually("the call waits again", func() bool { return f.call(id).State == envelope.Queued })
	if r := f.cancel(id); r.StatusCode != 204 {
		t.Errorf("got %s %s", r.Status, r.body)
	}
	f.wantProblem(f.send("GET /calls/"+id+" HTTP/1.1", ""), 404, "no-such-call")
}

func TestUnknownCall(t *testing.T) {
	f := newFixture(t)
	known := f.order()
	ids := []string{
		"unknown", "*", ">", "*.*", "a.b", ".", "..", "%2e", "%2A", "%3E", strings.ToUpper(known), known[1:], known + "a", known + "/", known + "/a",
		"/" + known, known + ".", known + "%20", "%61" + known, "a-b", "a_b", "$", strings.Repeat("a", 65), strings.Repeat("a", 5000), "\xff", "%FF", "%00",
	}
	for _, id := range ids {
		for _, method := range []string{"GET", "HEAD", "DELETE"} {
			r := f.send(method+" /calls/"+id+" HTTP/1.1", "")
			if method == "HEAD" {
				if r.StatusCode != 404 {
					t.Errorf("HEAD %q: %s", id, r.Status)
				}
				continue
			}
			f.wantProblem(r, 404, "no-such-call")
		}
	}
	f.call(known)
}

func TestCallMethods(t *testing.T) {
	f := newFixture(t)
	id := f.order()
	for _, method := range []string{"POST", "PUT", "PATCH", "OPTIONS", "get"} {
		r := f.send(method+" /calls/"+id+" HTTP/1.1", "")
		f.wantProblem(r, 405, "method-not-allowed")
		if r.Header.Get("Allow") != "GET, HEAD, DELETE" {
			t.Errorf("Allow: %q", r.Header.Get("Allow"))
		}
	}
	f.call(id)
}
