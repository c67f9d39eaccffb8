package dispatch

import (
	"sync/atomic"

	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// What a message at work takes beside its body: headers, a goroutine, a connection;
// and where those of a batch share them, less.
const (
	perMessage = 32 << 10
	perBatched = 4 << 10
)

// perHeld is what a message takes beside its body while it waits for its turn.
const perHeld = 2 << 10

// memory bounds what the messages at work take together: a trigger's concurrency
// counts calls, and a call may be of any size.
type memory struct {
	limit int64
	used  atomic.Int64 // by messages at work
	kept  atomic.Int64 // by those that wait for their turn
}

// take reports whether there is room for n bytes, and takes it; for a single
// message there always is.
func (m *memory) take(n int64) bool {
	if used := m.used.Add(n); used+m.kept.Load() > m.limit && used != n {
		m.used.Add(-n)
		return false
	}
	return true
}

func (m *memory) give(n int64) { m.used.Add(-n) }

// keep is take for a message that waits for its turn, which may be long: such ones
// have half of the memory at most, so that they never keep all others out.
func (m *memory) keep(n int64) bool {
	if kept := m.kept.Add(n); kept > m.limit/2 || kept+m.used.Load() > m.limit {
		m.kept.Add(-n)
		return false
	}
	return true
}

func (m *memory) unkeep(n int64) { m.kept.Add(-n) }

// tight reports whether messages may not wait for others any more. So all that
// wait for their batch to fill take half of the memory at most, and never keep a
// message out for longer than calls do.
func (m *memory) tight() bool { return m.used.Load() > m.limit/2 }

// size is what a message takes.
func (j *job) size() int64 { return sizeOf(j.sub, int64(len(j.Body))) }

// sizeOf is what a message with a body of n bytes takes: in a batch its body, and
// that as JSON beside it.
func sizeOf(sub *wiring.Subscription, n int64) int64 {
	if sub.Batch.Size > 0 {
		return perBatched + 3*n
	}
	return perMessage + n
}
