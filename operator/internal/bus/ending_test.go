package bus_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

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

// What ends while the store is nearly full is kept without the answers' bodies,
// and so without end.
func TestEndingsWhileTheStoreIsNearlyFull(t *testing.T) {
	s, b, _ := serve(t, bus.EmbeddedConfig{Dir: t.TempDir(), MaxStore: 2 << 20})
	layOut(t, b, onCall("redeem"))
	in, out := bus.Inlet{Bus: b, Room: s.Room}, bus.Outlet{Bus: b, Room: s.Room}
	accepted := 0
	for ; ; accepted++ {
		if _, err := in.Store(t.Context(), call(fmt.Sprint(accepted), strings.Repeat("x", 100<<10))); errors.Is(err, bus.ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	end := bus.Ending{
		Function: offers, Trigger: "redeem", Now: time.Now(), Verdict: delivery.Verdict{Attempts: 1},
		Last: &envelope.Answer{Status: 200, Header: http.Header{"A": {"b"}}, Body: make([]byte, 100<<10)},
	}
	for i := range 100 {
		item, _ := names.ParseWork(call(fmt.Sprint("more", i), "").Subject)
		if err := out.StoreResult(t.Context(), item, envelope.Succeeded, end); err != nil {
			t.Fatalf("result %d: %v", i, err)
		}
		if err := out.Bury(t.Context(), call(fmt.Sprint("dead", i), ""), end); err != nil {
			t.Fatalf("dead letter %d: %v", i, err)
		}
	}
	for _, id := range []string{"more0", "more99", "dead99"} {
		c, err := b.FindCall(t.Context(), shop, id)
		if err != nil {
			t.Fatal(err)
		}
		if r := c.Result.Response; r == nil || r.Status != 200 || r.Header.Get("A") != "b" || !r.Truncated || len(c.Body) != 0 {
			t.Errorf("%s: answer %+v with %d bytes", id, r, len(c.Body))
		}
	}
	k := bus.KeyRef{Namespace: shop, Bucket: "things", Key: "a"}
	if _, err := in.Put(t.Context(), k, nil, bus.Write{}, 0); !errors.Is(err, bus.ErrFull) {
		t.Errorf("setting a key: %v, want ErrFull", err)
	}
	if err := in.DeleteKey(t.Context(), k, bus.Write{}); err != nil {
		t.Errorf("removing a key: %v", err)
	}
}

// A dead letter that the server does not take as a whole is kept in part.
func TestBuryWhatTheServerNoLongerTakes(t *testing.T) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), MaxPayload: bus.MinPayload})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b, err := bus.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	layOut(t, b, onCall("redeem"))
	tests := map[string]struct{ size, own int }{
		"with the answer's body": {bus.MinPayload - 60<<10, bus.MinPayload - 60<<10},
		"at all":                 {bus.MinPayload + 1, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			end := largeEnding()
			end.Verdict.Message = "why"
			if err := b.Bury(t.Context(), call(fmt.Sprint(test.size), strings.Repeat("x", test.size)), end); err != nil {
				t.Fatal(err)
			}
			letter, err := b.Last(t.Context(), "DEAD_shop", "dead.shop.offers.redeem")
			if err != nil {
				t.Fatal(err)
			}
			d, body, err := letter.DeadLetter()
			if err != nil || len(body) != test.own || d.Last == nil || d.Last.Status != 500 || len(d.Last.Body) != 0 || !strings.HasPrefix(d.Message, "why") {
				t.Errorf("%d bytes, %+v, %v", len(body), d, err)
			}
			if c, err := b.FindCall(t.Context(), shop, fmt.Sprint(test.size)); err != nil || c.Result.State != envelope.DeadState {
				t.Errorf("result %v, %v", c.Result.State, err)
			}
		})
	}
}
