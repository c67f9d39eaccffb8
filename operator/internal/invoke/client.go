package invoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
)

// Do makes one call over a lease and reads the answer, of which it keeps up to
// envelope.MaxResponse bytes. The call ends timeout after there is a ready
// instance. The outcome says what happened; the answer is nil where there was
// none.
func Do(rt http.RoundTripper, l Lease, timeout time.Duration, req *http.Request) (delivery.Outcome, *envelope.Answer) {
	ctx, bound := l.Bound(req.Context(), timeout)
	defer bound.End()
	req.URL.Host = l.Address
	maps.Copy(req.Header, l.Header)
	resp, err := rt.RoundTrip(req.WithContext(ctx))
	if err != nil {
		called := !NotSent(err) && !errors.Is(context.Cause(ctx), ErrNotStarted)
		o := delivery.Outcome{Called: called, Problem: describe(ctx, err)}
		if called {
			l.noteBreak(ctx, bound, &o)
		}
		return o, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, envelope.MaxResponse+1))
	if err != nil {
		o := delivery.Outcome{Called: true, Problem: "the answer broke off: " + describe(ctx, err)}
		l.noteBreak(ctx, bound, &o)
		return o, nil
	}
	sign := l.sign(bound, resp.StatusCode, body)
	if sign == NotPassedOn {
		return delivery.Outcome{Problem: fmt.Sprintf("the function could not be reached: %d %s", resp.StatusCode, firstLine(body))}, nil
	}
	a := &envelope.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}
	if len(body) > envelope.MaxResponse {
		a.Body, a.Truncated = body[:envelope.MaxResponse], true
	}
	o := delivery.Outcome{Called: true, Status: a.Status, RetryAfter: retryAfter(resp.Header, time.Now())}
	if sign == BrokeOff {
		l.noteBreak(ctx, bound, &o)
	}
	return o, a
}

// NotSent reports whether an error of a round trip proves that the function did
// not get the request: there was no connection, or it broke before the request
// was sent.
func NotSent(err error) bool {
	var op *net.OpError
	var unsent *unsentError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &unsent)
}

func describe(ctx context.Context, err error) string {
	if cause := context.Cause(ctx); errors.Is(cause, ErrTimeout) || errors.Is(cause, ErrNotStarted) {
		return cause.Error()
	}
	if NotSent(err) {
		return fmt.Sprintf("no connection: %v", err)
	}
	return fmt.Sprintf("the connection broke: %v", err)
}

// retryAfter reads Retry-After: seconds or a date (RFC 9110, 10.2.3); 0 where
// there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(s, 24*3600)) * time.Second // out of range it is the largest number
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// firstLine is what a body says first, in short.
func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}
