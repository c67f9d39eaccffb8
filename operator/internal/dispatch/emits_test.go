package dispatch_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
)

// binary answers with one event in the headers.
func binary(code int, eventType, id string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Ce-Specversion", "1.0")
		h.Set("Ce-Id", id)
		h.Set("Ce-Source", "/offers")
		h.Set("Ce-Type", eventType)
		h.Set("Content-Type", "text/plain")
		w.WriteHeader(code)
		if code != http.StatusNoContent {
			_, _ = w.Write([]byte("data of " + id))
		}
	}
}

func typed(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

func inJSON(eventType, id string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/offers","type":%q,"data":{"id":%q}}`, id, eventType, id)
}

const (
	structured = "application/cloudevents+json"
	batch      = "application/cloudevents-batch+json; charset=utf-8"
)

func TestAnsweredEvents(t *testing.T) {
	done := end{1, envelope.Succeeded, "", 200}
	refused := end{1, envelope.DeadState, delivery.ReasonEmitRefused, 200}
	long := `{"specversion":"1.0","id":"1","source":"/offers","type":"out.a","data":"` + strings.Repeat("x", envelope.MaxResponse) + `"}`
	tests := map[string]struct {
		answer    http.HandlerFunc
		want      end
		published []string
	}{
		"one in headers":          {binary(200, "out.a", "1"), done, []string{"1"}},
		"one with 201":            {binary(201, "out.a", "1"), end{1, envelope.Succeeded, "", 201}, []string{"1"}},
		"one without data":        {binary(204, "out.a", "1"), end{1, envelope.Succeeded, "", 204}, []string{"1"}},
		"one in JSON":             {typed(structured, inJSON("out.a", "1")), done, []string{"1"}},
		"a batch":                 {typed(batch, "["+inJSON("out.a", "1")+","+inJSON("out.b.c", "2")+"]"), done, []string{"1", "2"}},
		"an empty batch":          {typed(batch, "[]"), done, nil},
		"none":                    {typed("text/plain", inJSON("out.a", "1")), done, nil},
		"202":                     {binary(202, "out.a", "1"), end{1, envelope.Succeeded, "", 202}, nil},
		"202 that is not allowed": {binary(202, "other", "1"), end{1, envelope.Succeeded, "", 202}, nil},

		"not in emits":            {binary(200, "other", "1"), refused, nil},
		"one of a batch is not":   {typed(batch, "["+inJSON("out.a", "1")+","+inJSON("other", "2")+"]"), refused, nil},
		"malformed in headers":    {binary(200, "out.a", ""), refused, nil},
		"malformed JSON":          {typed(structured, `{"specversion":`), refused, nil},
		"one of a batch is":       {typed(batch, "["+inJSON("out.a", "1")+`,{"id":"2"}]`), refused, nil},
		"the same twice":          {typed(batch, "["+inJSON("out.a", "1")+","+inJSON("out.a", "1")+"]"), refused, nil},
		"another format":          {typed("application/cloudevents+avro", "x"), refused, nil},
		"larger than is read":     {typed(structured, long), refused, nil},
		"a type of wrong letters": {binary(200, "out.a b", "1"), refused, nil},
	}
	for name, test := range tests {
		for source, trigger := range map[string]v1alpha1.Trigger{"event": onEvent("welcome", quick(), "in.a"), "call": onCall("redeem", quick())} {
			t.Run(source+"/"+name, func(t *testing.T) {
				r := newRig(t, test.answer, []v1alpha1.Trigger{trigger})
				if source == "event" {
					r.publish(newEvent("in.a", "cause"))
				} else {
					r.accept("1")
				}
				r.wantCalls(1)
				r.wantDead(trigger.Name, test.want)
				if got := append(r.published("out.>"), r.published("other")...); !slices.Equal(got, append([]string{}, test.published...)) {
					t.Errorf("published %q, want %q", got, test.published)
				}
				if source == "call" {
					if c, err := r.bus.FindCall(t.Context(), shop, "1"); err != nil || c.Result.State != test.want.state {
						t.Errorf("result %+v, %v; want %s", c.Result, err, test.want.state)
					}
				}
			})
		}
	}
}

// An answer with an error's status publishes nothing, whatever it holds.
func TestEventsOfAFailedAnswerAreNotPublished(t *testing.T) {
	r := newRig(t, inTurn(binary(500, "out.a", "1"), status(200)), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")})
	r.publish(newEvent("in.a", "cause"))
	r.wantCalls(2)
	if got := r.published("out.>"); len(got) != 0 {
		t.Errorf("published %q", got)
	}
}

// What comes after the timeout is thrown away, and its events with it.
func TestEventsOfALateAnswerAreNotPublished(t *testing.T) {
	answered := make(chan struct{})
	late := func(w http.ResponseWriter, r *http.Request) {
		hang(w, r)
		binary(200, "out.a", "late")(w, r)
		close(answered)
	}
	r := newRig(t, inTurn(late, binary(200, "out.a", "in time")), []v1alpha1.Trigger{onEvent("welcome", quick(timeout("PT0.1S")), "in.a")})
	r.publish(newEvent("in.a", "cause"))
	r.wantCalls(2)
	<-answered
	if got := r.published("out.>"); !slices.Equal(got, []string{"in time"}) {
		t.Errorf("published %q", got)
	}
}

// An answered event is one as any other: it reaches who wants it.
func TestAnsweredEventsAreDelivered(t *testing.T) {
	first, second := onEvent("first", quick(), "in.a"), onEvent("second", quick(), "out.a")
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Serviceful-Trigger") == "first" {
			binary(200, "out.a", "effect of "+r.Header.Get("Ce-Id"))(w, r)
		}
	}
	r := newRig(t, answer, []v1alpha1.Trigger{first, second})
	r.publish(newEvent("in.a", "1"))
	eventually(t, "both are called", func() bool { return len(r.function.calls()) == 2 })
	r.settled()
	last := r.function.calls()[1]
	if last.target != "/on/second" || last.header.Get("Ce-Id") != "effect of 1" || last.body != "data of effect of 1" || last.header.Get("Content-Type") != "text/plain" {
		t.Errorf("the second trigger got %+v", last)
	}
}

// eventLog records what is published, and when.
type eventLog struct {
	dispatch.EventLog
	publish func(events []*event.Event) error // before it is published
}

func (l eventLog) PublishEvents(ctx context.Context, namespace string, events []*event.Event) error {
	if err := l.publish(events); err != nil {
		return err
	}
	return l.EventLog.PublishEvents(ctx, namespace, events)
}

// The message is settled after its answer's events are published; until then
// it is published again.
func TestEventsArePublishedBeforeSettling(t *testing.T) {
	tries := 0
	r := newRig(t, binary(200, "out.a", "1"), []v1alpha1.Trigger{onEvent("welcome", quick(), "in.a")}, func(r *rig) {
		r.config.Events = eventLog{r.config.Events, func([]*event.Event) error {
			if info := r.consumer("EV_shop", "offers_welcome"); info.NumAckPending != 1 {
				t.Errorf("when its events are published, %d messages are at work", info.NumAckPending)
			}
			if tries++; tries < 3 {
				return errRefused
			}
			return nil
		}}
	})
	r.publish(newEvent("in.a", "cause"))
	r.wantCalls(1)
	if got := r.published("out.>"); tries != 3 || !slices.Equal(got, []string{"1"}) {
		t.Errorf("after %d tries published %q", tries, got)
	}
}
