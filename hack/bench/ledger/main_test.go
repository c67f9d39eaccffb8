package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestLedger(t *testing.T) {
	var ledger strings.Builder
	h := handler(&ledger)
	serve := func(method, path string) int {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Ce-Id", "7/1")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if code := serve(http.MethodPost, "/work/1ms"); code != http.StatusNoContent {
		t.Errorf("work: %d", code)
	}
	if !regexp.MustCompile(`^begin 7/1 \d+ \d{19}\nend 7/1 \d+ \d{19}\n$`).MatchString(ledger.String()) {
		t.Errorf("the ledger is %q", ledger.String())
	}
	if code := serve(http.MethodPost, "/work/much"); code != http.StatusBadRequest {
		t.Errorf("work for no time: %d", code)
	}
	if code := serve(http.MethodGet, "/sync"); code != http.StatusOK {
		t.Errorf("sync: %d", code)
	}
}
