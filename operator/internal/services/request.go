package services

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// readOf is what the conditions of a GET or a HEAD mean for what has a revision (RFC
// 9110, 13.1): 412 where If-Match names another, 304 where If-None-Match names it, and
// 200.
func readOf(h http.Header, revision uint64) int {
	match, none := h["If-Match"], h["If-None-Match"]
	switch tag := etag(revision); {
	case match != nil && !lists(match, tag):
		return http.StatusPreconditionFailed
	case none != nil && (lists(none, tag) || lists(none, "W/"+tag)):
		return http.StatusNotModified
	}
	return http.StatusOK
}

// lists reports whether a condition names a tag, or all by *.
func lists(condition []string, tag string) bool {
	for _, line := range condition {
		for named := range strings.SplitSeq(line, ",") {
			if named = strings.TrimSpace(named); named == tag || named == "*" {
				return true
			}
		}
	}
	return false
}

// durationOf reads a header that holds a duration from least to most; 0 where there
// is none. Another one is a problem of the kind.
func durationOf(h http.Header, name, kind string, least, most time.Duration) (time.Duration, error) {
	lines := h.Values(name)
	if lines == nil {
		return 0, nil
	}
	s := strings.Join(lines, ", ") // two are no duration
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > most {
		return 0, serve.NewProblem(http.StatusBadRequest, kind, "%s %q: a duration from %.0fs to %.0fh, such as 90s or 24h", name, s, least.Seconds(), most.Hours())
	}
	return d, nil
}

// writeOf reads If-Match: "<revision>", If-None-Match: * and the hops.
func writeOf(h http.Header) (w bus.Write, err error) {
	match, none := strings.Join(h["If-Match"], ", "), strings.Join(h["If-None-Match"], ", ") // two are no condition
	switch {
	case h["Content-Range"] != nil: // RFC 9110, 14.5: a part is not to be taken for the whole
		return w, serve.NewProblem(http.StatusBadRequest, "malformed-condition", "a PUT stores the whole, and no Content-Range of it")
	case h["If-Match"] != nil && h["If-None-Match"] != nil:
		return w, serve.NewProblem(http.StatusBadRequest, "malformed-condition", "If-Match and If-None-Match exclude each other")
	case none == "*":
		w.Absent = true
	case h["If-None-Match"] != nil:
		return w, serve.NewProblem(http.StatusBadRequest, "malformed-condition", "If-None-Match %q: only * is supported", none)
	case h["If-Match"] != nil:
		w.Revision, err = strconv.ParseUint(strings.Trim(match, `"`), 10, 64)
		if err != nil || w.Revision == 0 || match != etag(w.Revision) {
			return w, serve.NewProblem(http.StatusBadRequest, "malformed-condition", "If-Match %q: an ETag that an earlier answer gave", match)
		}
	}
	w.Hops, err = hopsOf(h)
	return w, err
}

// deletionOf is writeOf for what is to be deleted.
func deletionOf(h http.Header) (bus.Write, error) {
	w, err := writeOf(h)
	if err == nil && w.Absent {
		err = serve.NewProblem(http.StatusBadRequest, "malformed-condition", "If-None-Match has no meaning for a deletion")
	}
	return w, err
}

// Bounds of a page of a list.
const (
	defaultPage = 1000
	maxPage     = 10_000
)

// pageOf reads the query of a list.
func pageOf(r *http.Request) (limit int, after uint64, prefix string, err error) {
	q, err := url.ParseQuery(r.URL.RawQuery) // URL.Query would leave out what it cannot read
	if err != nil {
		return 0, 0, "", serve.NewProblem(http.StatusBadRequest, "malformed-query", "query %q: %v", r.URL.RawQuery, err)
	}
	limit = defaultPage
	if s := q.Get("limit"); s != "" {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxPage {
			return 0, 0, "", serve.NewProblem(http.StatusBadRequest, "malformed-query", "limit %q: a number from 1 to %d", s, maxPage)
		}
	}
	if s := q.Get("after"); s != "" {
		if after, err = strconv.ParseUint(s, 10, 63); err != nil {
			return 0, 0, "", serve.NewProblem(http.StatusBadRequest, "malformed-query", "after %q: what an earlier answer gave as next", s)
		}
	}
	return limit, after, q.Get("prefix"), nil
}

// formatPage is where the next page begins; "" where there is none.
func formatPage(next uint64) string {
	if next == 0 {
		return ""
	}
	return strconv.FormatUint(next, 10)
}

// maxMediaType is the longest Content-Type that is kept, in bytes.
const maxMediaType = 255

// mediaType is the Content-Type of a request, as it came; "" where there is none.
func mediaType(h http.Header) (string, error) {
	s := h.Get("Content-Type")
	if s == "" {
		return "", nil
	}
	if !event.ValidMediaType(s) || len(s) > maxMediaType || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", serve.NewProblem(http.StatusBadRequest, "malformed-content-type",
			"Content-Type %q: a media type such as text/csv; charset=utf-8, of at most %d characters of ASCII", s, maxMediaType)
	}
	return s, nil
}
