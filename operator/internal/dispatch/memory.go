package dispatch

import "sync/atomic"

// What a message at work takes beside its body: headers, a goroutine, a connection;
// and where those of a batch share them, less.
const (
	perMessage = 32 << 10
	perBatched = 4 << 10
)

// memory bounds what the messages at work take together: a trigger's concurrency
// counts calls, and a call may be of any size.
type memory struct {
	limit int64
	used  atomic.Int64
}

// take reports whether there is room for n bytes, and takes it; for a single
// message there always is.
func (m *memory) take(n int64) bool {
	if used := m.used.Add(n); used > m.limit && used != n {
		m.used.Add(-n)
		return false
	}
	return true
}

func (m *memory) give(n int64) { m.used.Add(-n) }

// tight reports whether messages may not wait for others any more. So all that
// wait for their batch to fill take half of the memory at most, and never keep a
// message out for longer than calls do.
func (m *memory) tight() bool { return m.used.Load() > m.limit/2 }

// size is what a message takes: in a batch its body, and that as JSON beside it.
func (j *job) size() int64 {
	if j.sub.Batch.Size > 0 {
		return perBatched + 3*int64(len(j.Body))
	}
	return perMessage + int64(len(j.Body))
}
