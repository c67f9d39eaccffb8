package services

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/bus"
)

// span is length bytes of a content, from the byte from on.
type span struct{ from, length int64 }

// of is the span as Content-Range says it.
func (s span) of(size int64) string {
	return fmt.Sprintf("bytes %d-%d/%d", s.from, s.from+s.length-1, size)
}

// partOf is the part of an object that a request asks for, and the status that
// goes with it. A Range that is malformed, has several parts or another unit is
// none (RFC 9110, 14.2), and neither is one whose If-Range is another revision.
func partOf(h http.Header, o bus.Object) (span, int) {
	whole := span{0, o.Size}
	if is := h.Get("If-Range"); is != "" && is != etag(o.Revision) {
		return whole, http.StatusOK
	}
	part, ok := parseRange(h.Get("Range"), o.Size)
	switch {
	case !ok:
		return whole, http.StatusOK
	case part.length == 0:
		return part, http.StatusRequestedRangeNotSatisfiable
	}
	return part, http.StatusPartialContent
}

// parseRange reads "bytes=2-5", "bytes=2-" and "bytes=-5". Its span has no length
// where none of its bytes is there.
func parseRange(s string, size int64) (_ span, ok bool) {
	spec, ok := strings.CutPrefix(s, "bytes=")
	if !ok {
		return span{}, false
	}
	first, last, ok := strings.Cut(strings.Trim(spec, " \t"), "-")
	if !ok {
		return span{}, false
	}
	to, toOK := parsePosition(last)
	if first == "" { // so many at the end
		length := min(to, size)
		return span{size - length, length}, toOK
	}
	from, fromOK := parsePosition(first)
	if last == "" {
		to, toOK = math.MaxInt64, true
	}
	if !fromOK || !toOK || to < from {
		return span{}, false
	}
	if from >= size {
		return span{}, true
	}
	return span{from, min(to, size-1) - from + 1}, true
}

// parsePosition reads digits; what is larger than a position can be is the
// largest one.
func parsePosition(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}
