package bus_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// largeEnding is one whose every part is as long as a function can make it. The
// server takes 64 KiB of headers to a message.
func largeEnding() bus.Ending {
	header := http.Header{"Content-Type": {"text/plain"}, "Long": {strings.Repeat("<", 200<<10)}}
	return bus.Ending{
		Function: offers, Trigger: "redeem", Now: time.Now(),
		Verdict: delivery.Verdict{Action: delivery.Die, Attempts: 5, Reason: delivery.ReasonRejected, Message: strings.Repeat("é<", 100<<10)},
		Last:    &envelope.Answer{Status: 500, Header: header, Body: make([]byte, envelope.MaxResponse), Truncated: true},
	}
}

func TestResultOfALargeAnswer(t *testing.T) {
	b := start(t, onCall("redeem"))
	item, _ := names.ParseWork(call("1", "").Subject)
	if err := b.StoreResult(t.Context(), item, envelope.Failed, largeEnding()); err != nil {
		t.Fatal(err)
	}
	c, err := b.FindCall(t.Context(), shop, "1")
	if err != nil {
		t.Fatal(err)
	}
	r := c.Result.Response
	if r == nil || r.Status != 500 || !r.Truncated || len(c.Body) != envelope.MaxResponse {
		t.Errorf("answer %+v with %d bytes", r, len(c.Body))
	}
	if !strings.HasPrefix(c.Result.Message, "é<é<") {
		t.Errorf("message of %d bytes", len(c.Result.Message))
	}
}

func TestBuryALargeCall(t *testing.T) {
	b := start(t, onCall("redeem"))
	r := envelope.Request{Method: "POST", Target: "/redeem", Header: http.Header{"Long": {strings.Repeat("x", envelope.MaxRequestHeader-1000)}}}
	m := envelope.Call(offers, "redeem", "1", r, make([]byte, 1<<20))
	if err := b.Bury(t.Context(), m, largeEnding()); err != nil {
		t.Fatal(err)
	}
	letter, err := b.Last(t.Context(), "DEAD_shop", "dead.shop.offers.redeem")
	if err != nil {
		t.Fatal(err)
	}
	d, body, err := letter.DeadLetter()
	if err != nil || len(body) != 1<<20 || d.Last == nil || d.Last.Status != 500 || len(d.Last.Body) != envelope.MaxDeadResponse {
		t.Errorf("dead letter %d bytes, %v", len(body), err)
	}
	if got, err := letter.Request(); err != nil || got.Target != "/redeem" {
		t.Errorf("request %v, %v", got.Target, err)
	}
	if c, err := b.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.DeadState {
		t.Errorf("result %v, %v", c.Result.State, err)
	}
}
