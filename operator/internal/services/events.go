package services

import (
	"net/http"

	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// publish stores the event or events of a request: POST /v1/events, what K_SINK
// points at.
func (d *Door) publish(w http.ResponseWriter, r *http.Request, c caller) error {
	body, err := serve.ReadBody(w, r, d.cfg.MaxBody, serve.Stall)
	if err != nil {
		return err
	}
	events, err := event.FromHTTP(r.Header, body)
	if err != nil {
		return serve.NewProblem(http.StatusBadRequest, "malformed-event", "%v", err)
	}
	if len(events) == 0 {
		return serve.NewProblem(http.StatusBadRequest, "malformed-event", "the batch is empty: it holds 1 to %d events", event.MaxBatch)
	}
	hops, err := hopsOf(r.Header)
	if err != nil {
		return err
	}
	for _, e := range events {
		e.Hops = hops
		if !c.MayEmit(e.Type()) {
			return serve.NewProblem(http.StatusForbidden, "not-in-emits",
				"function %s may not publish events of type %q: add it to spec.emits", c.Name, e.Type())
		}
	}
	if err := d.cfg.Events.PublishEvents(r.Context(), c.Name.Namespace, events); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
