package dispatch

import "sync/atomic"

// perMessage is what a message at work takes beside its body: headers, a
// goroutine, a connection.
const perMessage = 32 << 10

// memory bounds what the messages at work take together: a trigger's concurrency
// counts calls, and a call may be of any size.
type memory struct {
	limit int64
	used  atomic.Int64
}

// take reports whether there is room for a message, and takes it; for a single
// one there always is.
func (m *memory) take(body []byte) bool {
	n := perMessage + int64(len(body))
	if used := m.used.Add(n); used > m.limit && used != n {
		m.used.Add(-n)
		return false
	}
	return true
}

func (m *memory) give(body []byte) { m.used.Add(-perMessage - int64(len(body))) }
