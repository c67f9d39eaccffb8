package main

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSink(t *testing.T) {
	h := new(sink).handler()
	serve := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
	sent := time.Now().Add(-time.Second)
	data := binary.BigEndian.AppendUint64(nil, uint64(sent.UnixNano()))
	if w := serve(http.MethodPost, "/events", string(data)+"padding"); w.Code != http.StatusNoContent {
		t.Errorf("an event: %d", w.Code)
	}
	if w := serve(http.MethodPost, "/events", "short"); w.Code != http.StatusBadRequest {
		t.Errorf("data that is too short: %d", w.Code)
	}
	for _, path := range []string{"/sync", "/sync/name"} {
		if w := serve(http.MethodGet, path, ""); w.Body.String() != "ok" {
			t.Errorf("a sync call of %s: %q", path, w.Body)
		}
	}
	for _, want := range []int{1, 0} {
		var got arrived
		if err := json.Unmarshal(serve(http.MethodPost, "/drain", "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Latencies) != want {
			t.Fatalf("drained %d events, want %d", len(got.Latencies), want)
		}
		if want == 1 && (got.Latencies[0] < int64(time.Second) || got.Last != sent.UnixNano()+got.Latencies[0]) {
			t.Errorf("got %+v", got)
		}
	}
}
