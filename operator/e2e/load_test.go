package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Parts of a test under load: a worker that takes calls and events, and a source
// that publishes events. A call of doomed always fails.
const (
	workerRest = `
timeout: 60s
scale: {min: 1, max: 1, concurrency: 16}
triggers:
- name: work
  http: {methods: [POST], path: "/work/{id}", async: true}
  delivery: {concurrency: 4, retry: 20, backoffPolicy: linear, backoffDelay: PT0.5S}
- name: doomed
  http: {methods: [POST], path: "/doomed/{id}", async: true}
  delivery: {concurrency: 4, retry: 1, backoffDelay: PT0.25S}
- name: happened
  event: {types: [e2e.load.happened.v1]}
  path: /events
  delivery: {concurrency: 4, retry: 20, backoffPolicy: linear, backoffDelay: PT0.5S}
- name: version
  http: {methods: [POST], path: /version}`
	sourceRest = `
scale: {min: 1, max: 1, concurrency: 16}
emits: [e2e.load.happened.v1]
triggers:
- name: publish
  http: {methods: [POST], path: "/publish/{id}"}`
	// workerInFlight is how many messages the worker's triggers that succeed may
	// have at work.
	workerInFlight = 8
)

// load sends calls and events at a steady pace, each with an id of its own. One
// that got no answer, or was refused, is sent again under the same id until it is
// accepted.
type load struct {
	s    *space
	done chan struct{}
	wg   sync.WaitGroup

	mu       sync.Mutex
	accepted map[string]string // "<trigger>/<id>" to where the call can be looked at, "" for an event
	refused  []string          // what was not accepted at once, and why
	answers  map[string]int    // of synchronous requests, by body
	failed   []string          // synchronous requests that failed
}

func newLoad(s *space) *load {
	l := &load{s: s, done: make(chan struct{}), accepted: map[string]string{}, answers: map[string]int{}}
	s.Cleanup(l.stop)
	return l
}

// stop ends the load once all that it began to send is accepted. It may be
// called again.
func (l *load) stop() {
	l.mu.Lock()
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	l.mu.Unlock()
	l.wg.Wait()
}

// every calls send with one number after the other, until the load stops.
func (l *load) every(pause time.Duration, send func(n int)) {
	l.wg.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
				send(n)
			case <-l.done:
				return
			}
		}
	})
}

// messages begins to send calls of work and doomed, and events.
func (l *load) messages() {
	for sender := range 2 {
		l.every(100*time.Millisecond, func(n int) {
			id := fmt.Sprintf("work-%d-%d", sender, n)
			l.accept("work/"+id, "/work/"+id, "", id)
		})
	}
	l.every(time.Second, func(n int) {
		id := fmt.Sprint("doomed-", n)
		l.accept("doomed/"+id, "/doomed/"+id, "", id)
	})
	l.every(100*time.Millisecond, func(n int) {
		id := fmt.Sprint("event-", n)
		l.accept("happened/"+id, "/publish/"+id+"?type=e2e.load.happened.v1", "{}", id)
	})
}

// accept sends until it is accepted, or the test has failed anyway.
func (l *load) accept(key, path, body, idempotency string) {
	for end := time.Now().Add(patience); time.Now().Before(end) && !l.s.Failed(); time.Sleep(200 * time.Millisecond) {
		a, err := l.s.callWith(http.Header{"Idempotency-Key": {idempotency}}, "POST", path, body)
		if err == nil && a.status == http.StatusAccepted {
			l.mu.Lock()
			l.accepted[key] = a.header.Get("Location")
			l.mu.Unlock()
			return
		}
		l.mu.Lock()
		l.refused = append(l.refused, fmt.Sprintf("%s: %d %s %v", key, a.status, a.body, err))
		l.mu.Unlock()
	}
	l.s.Errorf("%s was never accepted", key)
}

// requests begins to make synchronous requests of the worker. They are POSTs
// without a key: no client may repeat them by itself.
func (l *load) requests() {
	for range 2 {
		l.every(50*time.Millisecond, func(int) {
			a, err := l.s.call("POST", "/version", "")
			l.mu.Lock()
			defer l.mu.Unlock()
			if err != nil || a.status != http.StatusOK {
				l.failed = append(l.failed, fmt.Sprintf("%s: %d %s %v", time.Now().Format(time.StampMilli), a.status, a.body, err))
				return
			}
			l.answers[a.body]++
		})
	}
}

// answered is how often a body was the answer until now.
func (l *load) answered(body string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers[body]
}

// acceptedUntilNow is a copy.
func (l *load) acceptedUntilNow() map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.accepted)
}

// goesOn waits until the load has got further: more of each kind was accepted
// from now on, and the worker has handled it.
func (l *load) goesOn(r *recorder) {
	l.s.Helper()
	before := l.acceptedUntilNow()
	l.s.eventually("the load has gone on", func() bool {
		handled := map[string]int{}
		seen := r.counts()
		for key := range l.acceptedUntilNow() {
			if _, old := before[key]; !old && seen[key] > 0 {
				trigger, _, _ := strings.Cut(key, "/")
				handled[trigger]++
			}
		}
		return handled["work"] >= 10 && handled["happened"] >= 5 && handled["doomed"] >= 1
	})
}

// delivered waits until all that was accepted is handled or, if doomed, dead,
// and that the calls say so too. It returns how many were handled more than once.
func (l *load) delivered(r *recorder) (duplicates int) {
	l.s.Helper()
	l.stop()
	accepted := l.acceptedUntilNow()
	var missing []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		missing = missing[:0]
		seen, dead := r.counts(), l.s.dead("doomed")
		for key := range accepted {
			id, doomed := strings.CutPrefix(key, "doomed/")
			if doomed && !dead[id] || !doomed && seen[key] == 0 {
				missing = append(missing, key)
			}
		}
		if len(missing) == 0 {
			break
		}
	}
	if len(missing) > 0 {
		l.s.Errorf("%d of %d accepted messages are neither handled nor dead: %q", len(missing), len(accepted), missing)
	}
	for key, location := range accepted {
		if location == "" {
			continue
		}
		want := `"succeeded"`
		if strings.HasPrefix(key, "doomed/") {
			want = `"dead"`
		}
		l.s.eventually(key+" is "+want, func() bool {
			a, err := l.s.call("GET", location, "")
			return err == nil && strings.Contains(a.body, `"state":`+want)
		})
	}
	for key, n := range r.counts() {
		if !strings.HasPrefix(key, "doomed/") && n > 1 {
			duplicates += n - 1
		}
	}
	l.s.Logf("%d messages accepted, %d handled more than once, %d answers that were not 202", len(accepted), duplicates, len(l.refused))
	return duplicates
}
