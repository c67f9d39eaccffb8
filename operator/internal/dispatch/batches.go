package dispatch

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

const (
	// batchBytes is how much the bodies of a batch take together at most, beside a
	// first one.
	batchBytes = 4 << 20
	// linger is how long a batch without a window, or one that a call has just ended
	// for, waits for messages that the consumer has and did not hand out yet.
	linger = 10 * time.Millisecond
)

// batches decides which messages of a worker share a call and when it begins. It
// holds what waits for that; a worker without batches has batches of one.
//
// A batch begins when there is a free call for it and it is full or has waited
// long enough; while there is none it goes on filling. A message that was called
// before is called alone: if it is its fault that the call failed, no other
// message pays for it again.
type batches struct {
	mu       sync.Mutex
	limit    int // of calls
	calls    int // under way
	coming   int // messages that are prepared
	behind   uint64
	open     []*job // waits for others
	bytes    int    // of its bodies
	due      bool   // it has waited long enough
	again    bool   // it has waited after the end of a call, too
	number   int    // of its wait
	ready    [][]*job
	stopping bool

	wake  func(number int) // called when the open batch has waited long enough
	timer *time.Timer      // that does so; nil where there is none
}

// expect notes that a message comes, which add will follow.
func (b *batches) expect(j *job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.coming++
	b.behind = j.Behind
}

// allow says how many calls there may be. It returns the batches that begin.
func (b *batches) allow(calls int) [][]*job {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = calls
	return b.next()
}

// add takes a message in, or learns that the one which was expected is not to be
// called. It returns the batches that begin now. tight says that memory is too
// short for messages that wait.
func (b *batches) add(j *job, call, tight bool) (begin [][]*job) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.coming--
	if call {
		b.put(j)
	}
	b.due = b.due || tight
	return b.next()
}

// put puts a message into a batch.
func (b *batches) put(j *job) {
	size := max(1, j.sub.Batch.Size)
	if size == 1 || j.progress.Alone() {
		b.ready = append(b.ready, []*job{j})
		return
	}
	if len(b.open) > 0 && (b.bytes+len(j.Body) > batchBytes || b.open[0].sub != j.sub) {
		b.close()
	}
	if len(b.open) == 0 {
		b.again = false
		b.wait(cmp.Or(j.sub.Batch.Window, linger))
	}
	b.open = append(b.open, j)
	if b.bytes += len(j.Body); len(b.open) >= size || b.bytes >= batchBytes {
		b.close()
	}
}

// wait has the open batch wait for others.
func (b *batches) wait(d time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.number++
	b.due = false
	number := b.number
	b.timer = time.AfterFunc(d, func() { b.wake(number) })
}

// close ends the filling of the open batch, in the order of the log.
func (b *batches) close() {
	slices.SortFunc(b.open, func(x, y *job) int { return cmp.Compare(x.Sequence, y.Sequence) })
	b.timer.Stop()
	b.ready = append(b.ready, b.open)
	b.open, b.bytes, b.timer = nil, 0, nil
}

// expire says that the wait of a number is over. It returns the batches that begin.
func (b *batches) expire(number int) [][]*job {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.due = b.due || b.number == number
	return b.next()
}

// ended says that a call has ended. It returns the batches that begin.
func (b *batches) ended() [][]*job {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls == b.limit && len(b.open) > 0 && b.behind > 0 && !b.again { // what has just been settled made room for others
		b.again = true
		b.wait(linger)
	}
	b.calls--
	return b.next()
}

// stop returns all that waits; from now on nothing does.
func (b *batches) stop() [][]*job {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopping = true
	return b.next()
}

func (b *batches) next() (begin [][]*job) {
	for b.calls < b.limit || b.stopping {
		if len(b.open) > 0 && b.waited() {
			b.close()
		}
		if len(b.ready) == 0 {
			return begin
		}
		begin = append(begin, b.ready[0])
		b.ready = b.ready[1:]
		b.calls++
	}
	return begin
}

// waited reports whether the open batch need not wait: its time is up, or it has
// no window and there is nothing more to come.
func (b *batches) waited() bool {
	return b.due || b.stopping || b.open[0].sub.Batch.Window == 0 && b.coming == 0 && b.behind == 0
}
