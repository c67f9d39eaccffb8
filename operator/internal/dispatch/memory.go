package dispatch

import "sync/atomic"

// perMessage is what a message at work takes beside its body: headers, a
// goroutine, a connection.
const perMessage = 32 << 10

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

// size is what a message takes.
func (j *job) size() int64 { return perMessage + int64(len(j.Body)) }
