package gateway

import (
	"errors"
	"net/http"
	"time"

	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Meter is told of each request that a route takes. It must not block.
type Meter interface {
	Begin(rt *wiring.Route)
	// End follows each Begin. status is the answer's: 0 where the caller went
	// before it, or where it broke off.
	End(rt *wiring.Route, status int, took time.Duration)
}

type noMeter struct{}

func (noMeter) Begin(*wiring.Route)                   {}
func (noMeter) End(*wiring.Route, int, time.Duration) {}

// take serves a request by its route, under the eyes of the meter.
func (d *Door) take(w http.ResponseWriter, r *http.Request, rt *wiring.Route, params map[string]string) (err error) {
	begun, status := time.Now(), 0
	d.cfg.Meter.Begin(rt)
	defer func() { d.cfg.Meter.End(rt, status, time.Since(begun)) }()
	switch {
	case rt.Async: // also of a paused trigger: it waits
		status, err = d.accept(w, r, rt, params)
	case rt.Paused:
		err = serve.NewProblem(http.StatusServiceUnavailable, "trigger-paused", "trigger %q of function %s is paused", rt.Trigger, rt.Function)
	default:
		status, err = d.proxy.serve(w, r, rt, params)
	}
	if err == nil || gone(r, err) {
		return err
	}
	err = explain(err)
	status = http.StatusInternalServerError
	if p := (*serve.Problem)(nil); errors.As(err, &p) {
		status = p.Status
	}
	return err
}
