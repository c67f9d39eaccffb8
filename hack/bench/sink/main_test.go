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
	batch, err := json.Marshal([]map[string][]byte{{"data_base64": data}})
	if err != nil {
		t.Fatal(err)
	}
	if w := serve(http.MethodPost, "/batches", string(batch)); w.Code != http.StatusNoContent {
		t.Errorf("a batch: %d", w.Code)
	}
	for _, body := range []string{"x", `[{"data_base64":""}]`, `[{"data_base64":"AAAA"}]`} {
		if w := serve(http.MethodPost, "/batches", body); w.Code != http.StatusBadRequest {
			t.Errorf("the batch %s: %d", body, w.Code)
		}
	}
	serve(http.MethodPost, "/hold", "")
	held := make(chan struct{})
	go func() {
		serve(http.MethodPost, "/events", string(data))
		close(held)
	}()
	select {
	case <-held:
		t.Error("an event that was to be held is answered")
	case <-time.After(20 * time.Millisecond):
	}
	serve(http.MethodPost, "/release", "")
	<-held
	for _, want := range []int{3, 0} {
		var got arrived
		if err := json.Unmarshal(serve(http.MethodPost, "/drain", "").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Latencies) != want {
			t.Fatalf("drained %d events, want %d", len(got.Latencies), want)
		}
		if want > 0 && (got.Latencies[0] < int64(time.Second) || got.Last != sent.UnixNano()+got.Latencies[want-1]) {
			t.Errorf("got %+v", got)
		}
	}
}

func TestReceiveOrFail(t *testing.T) {
	h := new(sink).handler()
	data := string(make([]byte, 8))
	for eventType, want := range map[string]int{failingType: http.StatusInternalServerError, "bench.beside.v1": http.StatusNoContent} {
		r := httptest.NewRequest(http.MethodPost, "/fallible", strings.NewReader(data))
		r.Header.Set("Ce-Type", eventType)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d, want %d", eventType, w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/drain", nil))
	var got arrived
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Failed != 1 || len(got.Latencies) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}
