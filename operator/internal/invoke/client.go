package invoke

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/envelope"
)

// Do makes one call to the instance at address and reads the answer, of which
// it keeps up to envelope.MaxResponse bytes. The context's deadline is the
// call's timeout. The outcome says what happened; the answer is nil where there
// was none.
func Do(rt http.RoundTripper, address string, req *http.Request) (delivery.Outcome, *envelope.Answer) {
	req.URL.Host = address
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return delivery.Outcome{Called: !NotSent(err), Problem: describe(req.Context(), err)}, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, envelope.MaxResponse+1))
	if err != nil {
		return delivery.Outcome{Called: true, Problem: "the answer broke off: " + describe(req.Context(), err)}, nil
	}
	a := &envelope.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}
	if len(body) > envelope.MaxResponse {
		a.Body, a.Truncated = body[:envelope.MaxResponse], true
	}
	return delivery.Outcome{Called: true, Status: a.Status, RetryAfter: retryAfter(resp.Header, time.Now())}, a
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
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return "no answer within its timeout"
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
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return time.Duration(min(s, 24*3600)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
