package dispatch_test

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

type answers []http.HandlerFunc

// inTurn answers each call with the next of some answers, and every further one
// with the last.
func inTurn(answers ...http.HandlerFunc) http.HandlerFunc {
	var calls atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(calls.Add(1)), len(answers))-1](w, r)
	}
}

// hang answers nothing until the caller has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// breakOff ends the connection instead of answering.
func breakOff(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// breakOffLater ends the connection in the middle of the answer.
func breakOffLater(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = w.Write([]byte("not all"))
	panic(http.ErrAbortHandler)
}

func answer(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Answer", "kept")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

// end is what becomes of a message.
type end struct {
	calls  int
	state  envelope.State // of a call; for an event, Succeeded or DeadState
	reason string         // of the dead letter
	status int            // of the last answer that is kept; 0 for none
}

var (
	once     = end{1, envelope.Succeeded, "", 200}
	twice    = end{2, envelope.Succeeded, "", 200}
	rejected = func(status int) end { return end{1, envelope.DeadState, delivery.ReasonRejected, status} }
	failed   = func(status int) end { return end{1, envelope.Failed, "", status} }
	usedUp   = func(status int) end { return end{3, envelope.DeadState, delivery.ReasonRetriesUsedUp, status} }
)

// lives makes the instance one that breaks connections and does not end.
func lives(r *rig) { r.world.ended = make(chan struct{}) }

// TestAnswers is the table "What an asynchronous answer means".
func TestAnswers(t *testing.T) {
	tests := map[string]struct { // by the id of the message
		answers     answers
		event, call end
	}{
		"200": {answers{answer(200, "done")}, once, once},
		"201": {answers{answer(201, "done")}, end{1, envelope.Succeeded, "", 201}, end{1, envelope.Succeeded, "", 201}},
		"202": {answers{answer(202, "done")}, end{1, envelope.Succeeded, "", 202}, end{1, envelope.Succeeded, "", 202}},

		"408_once": {answers{answer(408, ""), answer(200, "done")}, twice, twice},
		"429_once": {answers{answer(429, ""), answer(200, "done")}, twice, twice},
		"500_once": {answers{answer(500, ""), answer(200, "done")}, twice, twice},
		"503_once": {answers{answer(503, ""), answer(200, "done")}, twice, twice},
		"599_once": {answers{answer(599, ""), answer(200, "done")}, twice, twice},

		"a_timeout":                      {answers{hang, answer(200, "done")}, twice, twice},
		"a_broken_connection":            {answers{breakOff, answer(200, "done")}, twice, twice},
		"an_answer_that_breaks_off":      {answers{breakOffLater, answer(200, "done")}, twice, twice},
		"a_timeout_each_time":            {answers{hang}, usedUp(0), usedUp(0)},
		"a_broken_connection_each_time":  {answers{breakOff}, usedUp(0), usedUp(0)},
		"500_each_time":                  {answers{answer(500, "no")}, usedUp(500), usedUp(500)},
		"500_then_a_broken_connection":   {answers{answer(500, ""), breakOff}, usedUp(0), usedUp(0)},
		"500_then_400":                   {answers{answer(500, ""), answer(400, "no")}, end{2, envelope.DeadState, delivery.ReasonRejected, 400}, end{2, envelope.Failed, "", 400}},
		"404_once":                       {answers{answer(404, "no"), answer(200, "done")}, twice, failed(404)},
		"409_once":                       {answers{answer(409, "no"), answer(200, "done")}, twice, failed(409)},
		"404_each_time":                  {answers{answer(404, "no")}, usedUp(404), failed(404)},
		"301_which_nobody_follows":       {answers{answer(301, "no")}, rejected(301), failed(301)},
		"304":                            {answers{answer(304, "")}, rejected(304), failed(304)},
		"400":                            {answers{answer(400, "no")}, rejected(400), failed(400)},
		"401":                            {answers{answer(401, "no")}, rejected(401), failed(401)},
		"410":                            {answers{answer(410, "no")}, rejected(410), failed(410)},
		"422":                            {answers{answer(422, "no")}, rejected(422), failed(422)},
		"499_which_is_none_of_HTTPs":     {answers{answer(499, "no")}, rejected(499), failed(499)},
		"600_which_is_not_even_a_status": {answers{answer(600, "no")}, usedUp(600), usedUp(600)},
	}
	respond := map[string]http.HandlerFunc{} // by message
	for name, test := range tests {
		respond["event "+name], respond["call "+name] = inTurn(test.answers...), inTurn(test.answers...)
	}
	d := quick(timeout("PT0.3S"))
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) { respond[messageID(r.Header)](w, r) },
		[]v1alpha1.Trigger{onEvent("welcome", d, "in.a"), onCall("redeem", d)}, lives)
	for name := range tests {
		r.publish(newEvent("in.a", name))
		r.accept(name)
	}
	r.settled()
	calls, letters := map[string][]request{}, r.letters()
	for _, c := range r.function.calls() {
		calls[messageID(c.header)] = append(calls[messageID(c.header)], c)
	}
	for name, test := range tests {
		t.Run("event/"+name, func(t *testing.T) {
			checkCalls(t, calls["event "+name], test.event)
			checkDead(t, letters["event "+name], "welcome", test.event)
		})
		t.Run("call/"+name, func(t *testing.T) {
			checkCalls(t, calls["call "+name], test.call)
			checkDead(t, letters["call "+name], "redeem", test.call)
			r.wantResult(name, test.call)
		})
	}
}

// wantCalls waits until the function was called so often and everything is
// settled, and checks the calls of the only message.
func (r *rig) wantCalls(want int) {
	r.t.Helper()
	eventually(r.t, strconv.Itoa(want)+" calls, and everything settled", func() bool { return len(r.function.calls()) >= want && r.idle() })
	checkCalls(r.t, r.function.calls(), end{calls: want})
}

// checkCalls checks the calls of one message: how many, and the count in each.
func checkCalls(t *testing.T, calls []request, want end) {
	t.Helper()
	if len(calls) != want.calls {
		t.Errorf("%d calls, want %d", len(calls), want.calls)
	}
	for i, c := range calls {
		if got := c.header.Get("Serviceful-Attempt"); got != strconv.Itoa(i+1) {
			t.Errorf("call %d is attempt %q", i+1, got)
		}
	}
}

func (r *rig) wantDead(trigger string, want end) {
	r.t.Helper()
	checkDead(r.t, r.dead(trigger), trigger, want)
}

// checkDead checks the dead letters of one message.
func checkDead(t *testing.T, letters []envelope.DeadLetter, trigger string, want end) {
	t.Helper()
	if want.state != envelope.DeadState {
		if len(letters) != 0 {
			t.Errorf("dead letters %+v", letters)
		}
		return
	}
	if len(letters) != 1 {
		t.Fatalf("%d dead letters, want 1", len(letters))
	}
	d := letters[0]
	if d.Reason != want.reason || d.Attempts != want.calls || d.Message == "" || d.Function != offers.Name || d.Trigger != trigger {
		t.Errorf("dead letter %+v, want %+v", d, want)
	}
	if d.First.IsZero() || d.Died.Before(d.First) {
		t.Errorf("dead letter from %v to %v", d.First, d.Died)
	}
	switch {
	case want.status == 0 && d.Last != nil:
		t.Errorf("last answer %+v, want none", d.Last)
	case want.status != 0 && (d.Last == nil || d.Last.Status != want.status):
		t.Errorf("last answer %+v, want %d", d.Last, want.status)
	}
}

func (r *rig) wantResult(id string, want end) {
	r.t.Helper()
	c, err := r.bus.FindCall(r.t.Context(), shop, id)
	if err != nil {
		r.t.Fatal(err)
	}
	got := c.Result
	if got.State != want.state || got.Attempts != want.calls || got.Reason != want.reason || got.Ended.IsZero() {
		r.t.Errorf("result %+v, want %+v", got, want)
	}
	if want.status == 0 {
		if got.Response != nil {
			r.t.Errorf("answer %+v, want none", got.Response)
		}
		return
	}
	if a := got.Response; a == nil || a.Status != want.status || a.Header.Get("X-Answer") != "kept" {
		r.t.Errorf("answer %+v, want %d", a, want.status)
	}
	if want.state == envelope.Succeeded && string(c.Body) != "done" {
		r.t.Errorf("the answer's body is %q", c.Body)
	}
}

func TestRetryAfter(t *testing.T) {
	later := func(after string) http.HandlerFunc {
		return inTurn(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(503)
		}, status(200))
	}
	tests := map[string]struct {
		after    string
		max      string
		earliest time.Duration
	}{
		"honoured":        {"1", "PT10S", time.Second},
		"cut":             {"3600", "PT0.5S", 500 * time.Millisecond},
		"not honoured":    {"3600", "PT0S", 0},
		"not understood":  {"soon", "PT1H", 0},
		"less than asked": {"0", "PT1H", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			r := newRig(t, later(test.after), []v1alpha1.Trigger{onEvent("welcome", quick(retryAfterMax(test.max)), "in.a")})
			r.publish(newEvent("in.a", "1"))
			r.wantCalls(2)
			if took := time.Since(start); took < test.earliest {
				t.Errorf("called again after %v, want at least %v", took, test.earliest)
			}
		})
	}
}

func TestMaxAge(t *testing.T) {
	d := quick(retry(10_000), maxAge(400*time.Millisecond))
	r := newRig(t, status(503), []v1alpha1.Trigger{onEvent("welcome", d, "in.a"), onCall("redeem", d)})
	start := time.Now()
	r.publish(newEvent("in.a", "1"))
	r.accept("1")
	r.settled()
	for _, trigger := range []string{"welcome", "redeem"} {
		letters := r.dead(trigger)
		if len(letters) != 1 || letters[0].Reason != delivery.ReasonMaxAge || letters[0].Attempts < 1 {
			t.Fatalf("dead letters %+v", letters)
		}
		if l := letters[0]; l.Last == nil || l.Last.Status != 503 || !strings.Contains(l.Message, "503") {
			t.Errorf("dead letter %+v, last answer %+v", l, l.Last)
		}
		if age := letters[0].Died.Sub(start); age < 400*time.Millisecond {
			t.Errorf("dead after %v", age)
		}
	}
}

// copies keeps what is put off from the store.
type copies struct {
	dispatch.Keeper
	taken chan *envelope.Message
}

func (c copies) Store(_ context.Context, m *envelope.Message) (bus.Stored, error) {
	c.taken <- m
	return bus.Stored{}, nil
}

// calling is a source whose triggers call since a given time.
type calling struct {
	dispatch.Source
	since time.Time
}

func (c calling) Since(context.Context, string, string) (time.Time, error) { return c.since, nil }

// What is older than maxAge is due only since its trigger calls.
func TestDueSinceItsTriggerCalls(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onCall("redeem", quick())})
	m := envelope.Call(offers, "redeem", "1", envelope.Request{Method: "POST", Target: "/redeem/1"}, nil)
	p := envelope.Progress{Origin: "1", First: time.Now().Add(-delivery.DefaultMaxAge - time.Hour)}
	r.store(envelope.Retry(m, m.Subject, p, time.Now()))
	r.settled()
	r.wantCalls(1)
	r.wantDead("redeem", end{})
}

// What passes maxAge while it is put off is dead with its last answer's status.
func TestOverdueTellsTheLastTry(t *testing.T) {
	taken := make(chan *envelope.Message, 1)
	r := newRig(t, status(503), []v1alpha1.Trigger{onCall("redeem", quick())}, func(r *rig) {
		r.config.Keeper, r.config.Source = copies{r.config.Keeper, taken}, calling{r.config.Source, time.Time{}}
	})
	r.accept("1")
	m := <-taken
	m.Subject = names.Unschedule(m.Subject)
	p, err := m.Progress()
	if err != nil || p.Last.Status != 503 || p.Last.Problem == "" {
		t.Fatalf("put off with %+v, %v", p.Last, err)
	}
	p.First = time.Now().Add(-delivery.DefaultMaxAge - time.Hour)
	r.store(envelope.Retry(m, m.Subject, p, time.Now()))
	r.settled()
	r.wantCalls(1)
	r.wantDead("redeem", end{1, envelope.DeadState, delivery.ReasonMaxAge, 503})
	if c, err := r.bus.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.DeadState || c.Result.Response == nil || c.Result.Response.Status != 503 {
		t.Errorf("result %+v, %v", c.Result, err)
	}
	if d := r.dead("redeem")[0]; !strings.Contains(d.Message, p.Last.Problem) {
		t.Errorf("message %q", d.Message)
	}
}

// What waited longer than maxAge is dead without a call.
func TestOverdueIsNotCalled(t *testing.T) {
	d := quick(maxAge(10 * time.Millisecond))
	r := newRig(t, status(200), []v1alpha1.Trigger{onCall("redeem", d)}, func(r *rig) {
		r.apply(onCall("redeem", d))
		stored := time.Now()
		r.accept("1")
		eventually(t, "it is overdue", func() bool { return time.Since(stored) > 20*time.Millisecond })
	})
	r.wantCalls(0)
	r.wantDead("redeem", end{0, envelope.DeadState, delivery.ReasonMaxAge, 0})
	r.wantResult("1", end{0, envelope.DeadState, delivery.ReasonMaxAge, 0})
}

// A stored message that cannot be read is dead, and kept as it was.
func TestMalformed(t *testing.T) {
	tests := map[string]*envelope.Message{
		"no format":    {Subject: "work.shop.call.offers.redeem.1", Header: envelope.Header{}, Body: []byte("?")},
		"no request":   envelope.New("work.shop.call.offers.redeem.1", []byte("?")),
		"a bad target": envelope.Call(offers, "redeem", "1", envelope.Request{Method: "GET", Target: "no path"}, []byte("?")),
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, status(200), []v1alpha1.Trigger{onCall("redeem", quick())})
			r.store(m)
			r.settled()
			if calls := r.function.calls(); len(calls) != 0 {
				t.Errorf("calls %+v", calls)
			}
			letters := r.scan("DEAD_shop", "dead.shop.offers.redeem")
			if len(letters) != 1 {
				t.Fatalf("%d dead letters", len(letters))
			}
			d, body, err := letters[0].DeadLetter()
			if err != nil || d.Reason != delivery.ReasonMalformed || string(body) != "?" || !slices.Contains([]string{"1", "2"}, d.Origin) {
				t.Errorf("dead letter %+v, %q, %v", d, body, err)
			}
			if c, err := r.bus.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != envelope.DeadState {
				t.Errorf("result %+v, %v", c.Result, err)
			}
		})
	}
}
