package serve

import "net/http"

// IdempotencyKey is a request's Idempotency-Key, "" where it has none. One that
// is there must say something, and one thing: whoever means to send a key and
// sends none would not be protected.
func IdempotencyKey(h http.Header) (string, error) {
	switch keys := h.Values("Idempotency-Key"); {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1 || keys[0] == "":
		return "", NewProblem(http.StatusBadRequest, "malformed-idempotency-key", "an Idempotency-Key is one text that is not empty")
	default:
		return keys[0], nil
	}
}
