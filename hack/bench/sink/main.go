// Command sink is the trivial function that the benchmarks call, through
// Serviceful and directly.
//
// It owns the times at which events arrived. It imports the standard library
// only, so that it costs little beside what is measured.
package main

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

func main() {
	// A function is called from beside it; a bare pod, by $BIND, from elsewhere.
	address := net.JoinHostPort(cmp.Or(os.Getenv("BIND"), "127.0.0.1"), os.Getenv("PORT"))
	err := http.ListenAndServe(address, new(sink).handler())
	slog.Error("function ended", "function", "sink", "error", err)
	os.Exit(1)
}

// sink is what arrived since it was drained.
type sink struct {
	gate    sync.RWMutex // locked: what comes waits
	mu      sync.Mutex
	arrived arrived
}

// arrived is the answer of /drain.
type arrived struct {
	Last      int64   `json:"last"`      // when the last event came, in nanoseconds since 1970; 0: none did
	Latencies []int64 `json:"latencies"` // from sent to received, in nanoseconds, one for each event
	Failed    int     `json:"failed"`    // calls that were answered 500
}

func (s *sink) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /events", s.receive)
	mux.HandleFunc("POST /batches", s.receiveBatch)
	mux.HandleFunc("POST /fallible", s.receiveOrFail)
	mux.HandleFunc("POST /scheduled", s.scheduled)
	mux.HandleFunc("POST /drain", s.drain)
	mux.HandleFunc("POST /hold", func(http.ResponseWriter, *http.Request) { s.gate.Lock() })
	mux.HandleFunc("POST /release", func(http.ResponseWriter, *http.Request) { s.gate.Unlock() })
	for _, path := range []string{"/sync", "/sync/{name}"} { // by which functions of one namespace tell theirs apart
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	}
	return mux
}

// receive notes an event, whose first 8 bytes of data are when it was sent.
func (s *sink) receive(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	if err != nil || len(data) < 8 {
		http.Error(w, "the data must begin with the send time in 8 bytes", http.StatusBadRequest)
		return
	}
	s.note(int64(binary.BigEndian.Uint64(data)))
	w.WriteHeader(http.StatusNoContent)
}

// failingType is what events are of that receiveOrFail fails.
const failingType = "bench.failing.v1"

// receiveOrFail is receive, but fails the events of one type at once.
func (s *sink) receiveOrFail(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Ce-Type") != failingType {
		s.receive(w, r)
		return
	}
	s.mu.Lock()
	s.arrived.Failed++
	s.mu.Unlock()
	w.WriteHeader(http.StatusInternalServerError)
}

// beforeData is what comes before the data of each event of a batch.
const beforeData = `"data_base64":"`

// receiveBatch notes a batch of such events. It reads no more of them than their
// times: to decode them whole would cost more than their delivery.
func (s *sink) receiveBatch(w http.ResponseWriter, r *http.Request) {
	var batch bytes.Buffer
	batch.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	if _, err := batch.ReadFrom(r.Body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	events := bytes.Split(batch.Bytes(), []byte(beforeData))[1:]
	if len(events) == 0 {
		http.Error(w, "the batch holds no event with data", http.StatusBadRequest)
		return
	}
	for _, text := range events {
		var data [9]byte
		if _, err := base64.StdEncoding.Decode(data[:], text[:min(len(text), 12)]); err != nil {
			http.Error(w, "the data must begin with the send time in 8 bytes", http.StatusBadRequest)
			return
		}
		s.note(int64(binary.BigEndian.Uint64(data[:8])))
	}
	w.WriteHeader(http.StatusNoContent)
}

// scheduled notes a time of a schedule, as sent when it was due.
func (s *sink) scheduled(w http.ResponseWriter, r *http.Request) {
	due, err := time.Parse(time.RFC3339, r.Header.Get("Ce-Time"))
	if err != nil {
		http.Error(w, "the event needs a time", http.StatusBadRequest)
		return
	}
	s.note(due.UnixNano())
	w.WriteHeader(http.StatusNoContent)
}

// note notes what was sent at a time, in nanoseconds since 1970.
func (s *sink) note(sent int64) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	now := time.Now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrived.Last = now
	s.arrived.Latencies = append(s.arrived.Latencies, now-sent)
}

// drain answers what arrived, and forgets it.
func (s *sink) drain(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	taken := s.arrived
	s.arrived = arrived{Latencies: make([]int64, 0, cap(taken.Latencies))}
	s.mu.Unlock()
	_ = json.NewEncoder(w).Encode(taken) // fails only when the benchmark has gone
}
