package invoke

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// way is a function behind servers that make a request wait.
type way func(*http.Request) (*http.Response, error)

func (w way) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

// answers is a way on which something is answered after a time.
func answers(after time.Duration, status int, body string) way {
	return func(r *http.Request) (*http.Response, error) {
		select {
		case <-time.After(after):
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
		case <-r.Context().Done():
			return nil, errors.New("broken off")
		}
	}
}

// TestStart checks from when a call's timeout runs, and that an attempt which no
// instance can have got is not counted.
func TestStart(t *testing.T) {
	const never = 100 * time.Hour
	minute := time.Minute
	tests := map[string]struct {
		ready time.Duration // until there is an instance; 0: there is one
		way   way
		want  delivery.Outcome
		took  time.Duration
	}{
		"warm":                        {0, answers(29*time.Second, 200, ""), delivery.Outcome{Called: true, Status: 200}, 29 * time.Second},
		"warm, too slow":              {0, answers(31*time.Second, 200, ""), delivery.Outcome{Called: true}, 30 * time.Second},
		"starts slowly":               {4 * minute, answers(4*minute+29*time.Second, 200, ""), delivery.Outcome{Called: true, Status: 200}, 4*minute + 29*time.Second},
		"starts slowly, too slow":     {4 * minute, answers(5*minute, 200, ""), delivery.Outcome{Called: true}, 4*minute + 30*time.Second},
		"never starts":                {never, answers(never, 200, ""), delivery.Outcome{}, 5 * minute},
		"answers before it is known":  {never, answers(time.Second, 200, ""), delivery.Outcome{Called: true, Status: 200}, time.Second},
		"fails before it is known":    {never, answers(time.Second, 500, ""), delivery.Outcome{Called: true, Status: 500}, time.Second},
		"no instance, 502":            {never, answers(time.Second, 502, ""), delivery.Outcome{}, time.Second},
		"no instance, 503":            {never, answers(time.Second, 503, ""), delivery.Outcome{}, time.Second},
		"no instance, 504":            {never, answers(minute, 504, "timed out"), delivery.Outcome{}, minute},
		"an instance since, 503":      {time.Second, answers(2*time.Second, 503, ""), delivery.Outcome{Called: true, Status: 503}, 2 * time.Second},
		"warm, 503":                   {0, answers(time.Second, 503, "busy"), delivery.Outcome{Called: true, Status: 503}, time.Second},
		"warm, 503 of the way's":      {0, answers(time.Second, 503, "queue full\n"), delivery.Outcome{}, time.Second},
		"warm, 500 with those words":  {0, answers(time.Second, 500, "queue full\n"), delivery.Outcome{Called: true, Status: 500}, time.Second},
		"warm, 502 of the function's": {0, answers(time.Second, 502, "no"), delivery.Outcome{Called: true, Status: 502}, time.Second},
		"warm, 502 of the way's":      {0, answers(time.Second, 502, "EOF\n"), delivery.Outcome{Called: true, Status: 502, Broke: time.Second}, time.Second},
		"a stream that takes no time": {0, answers(0, 202, ""), delivery.Outcome{Called: true, Status: 202}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := Lease{Address: "offers:80", Header: http.Header{"K": {"v"}}, Way: signs}
				if test.ready > 0 {
					ready := make(chan struct{})
					l.Ready = ready
					timer := time.AfterFunc(test.ready, func() { close(ready) })
					defer timer.Stop()
				}
				start := time.Now()
				e := &event.Event{Attributes: []event.Attribute{{Name: "id", Value: "7"}}}
				req := EventRequest(t.Context(), e, "/", "joined", 1)
				got, answer := Do(test.way, l, 30*time.Second, req)
				if took := time.Since(start); took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				if got.Called != test.want.Called || got.Status != test.want.Status || got.Broke != test.want.Broke || (answer == nil) != (got.Status == 0) {
					t.Errorf("got %+v, %+v, want %+v", got, answer, test.want)
				}
				if got.Status == 0 && got.Problem == "" {
					t.Error("it does not say what is wrong")
				}
				if req.Header.Get("K") != "v" || req.URL.Host != "offers:80" {
					t.Errorf("sent to %s with %v", req.URL.Host, req.Header)
				}
			})
		})
	}
}

// TestBroke tells a connection that broke because the instance ended from one that
// the function broke off.
func TestBroke(t *testing.T) {
	ended := func() <-chan struct{} { c := make(chan struct{}); close(c); return c }
	for name, test := range map[string]struct {
		ended func() <-chan struct{}
		died  bool
	}{
		"it is not known": {func() <-chan struct{} { return nil }, true},
		"it ended":        {ended, true},
		"it lives":        {func() <-chan struct{} { return make(chan struct{}) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				breaks := way(func(*http.Request) (*http.Response, error) {
					time.Sleep(15 * time.Second)
					return nil, io.ErrUnexpectedEOF
				})
				e := &event.Event{Attributes: []event.Attribute{{Name: "id", Value: "7"}}}
				ready := make(chan struct{})
				time.AfterFunc(10*time.Second, func() { close(ready) })
				for _, start := range []<-chan struct{}{ready, nil} {
					lease := Lease{Address: "offers:80", Ready: start, Ended: test.ended()}
					got, _ := Do(breaks, lease, time.Minute, EventRequest(t.Context(), e, "/", "joined", 1))
					want := 15 * time.Second
					if start != nil {
						want = 5 * time.Second // from when there is an instance
					}
					if !got.Called || got.Died != test.died || got.Broke != want {
						t.Errorf("%+v, want %v and %v", got, test.died, want)
					}
				}
			})
		})
	}
}

// signs are those of a server on the way.
func signs(status int, body string) Sign {
	switch {
	case status == 503 && body == "queue full":
		return NotPassedOn
	case status == 502 && body == "EOF":
		return BrokeOff
	}
	return Arrived
}

// TestStopLetsAnAnswerGoOn checks that a call whose answer has begun is not
// broken off.
func TestStopLetsAnAnswerGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		close(ready)
		for _, l := range []Lease{{}, {Ready: ready}} {
			ctx, bound := l.Bound(t.Context(), time.Second)
			synctest.Wait()
			bound.Stop()
			time.Sleep(time.Hour)
			if ctx.Err() != nil {
				t.Error("it was broken off")
			}
			bound.End()
			if ctx.Err() == nil {
				t.Error("it goes on after its end")
			}
		}
	})
}
