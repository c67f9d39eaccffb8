package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func onKeys(name, keys string, d *v1alpha1.Delivery) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Path: "/on/" + name, KeyValue: &v1alpha1.KeyValueSource{Bucket: "things", Keys: keys}, Delivery: d}
}

func onObjects(name, keys string, d *v1alpha1.Delivery) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Path: "/on/" + name, Object: &v1alpha1.ObjectSource{Store: "files", Keys: keys}, Delivery: d}
}

func (r *rig) put(key, value string, w bus.Write) uint64 {
	r.t.Helper()
	revision, err := r.bus.Put(r.t.Context(), thing(key), []byte(value), w, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return revision
}

func (r *rig) putObject(name string) {
	r.t.Helper()
	ref := bus.ObjectRef{Namespace: shop, Store: "files", Name: name}
	if _, err := r.bus.PutObject(r.t.Context(), ref, bus.Upload{Body: strings.NewReader(name)}, bus.Write{}); err != nil {
		r.t.Fatal(err)
	}
}

func thing(key string) bus.KeyRef { return bus.KeyRef{Namespace: shop, Bucket: "things", Key: key} }

// heard are the calls that one trigger made, as "<what> <subject>".
func (r *rig) heard(trigger string) (out []string) {
	for _, c := range r.function.calls() {
		if c.header.Get("Serviceful-Trigger") == trigger {
			words := strings.Split(c.header.Get("Ce-Type"), ".")
			out = append(out, words[len(words)-2]+" "+c.header.Get("Ce-Subject"))
		}
	}
	slices.Sort(out)
	return out
}

// A trigger hears the changes that it names, each delivered as any event is: again
// when the function fails, and dead in the end.
func TestChanges(t *testing.T) {
	fails := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Ce-Subject"), "bad") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	r := newRig(t, fails, []v1alpha1.Trigger{
		onKeys("all", "", quick()), onKeys("some", "a.*", quick()), onObjects("csv", "in/*.csv", quick()), onEvent("events", quick(), "*"),
	})
	r.put("a.b", "1", bus.Write{})
	r.put("a.b.c", "1", bus.Write{})
	r.put("bad", "1", bus.Write{})
	eventually(t, "the first is told", func() bool { // a change that another has replaced before is not
		return slices.Contains(r.heard("all"), "put a.b") && slices.Contains(r.heard("some"), "put a.b")
	})
	if err := r.bus.DeleteKey(t.Context(), thing("a.b"), bus.Write{}); err != nil {
		t.Fatal(err)
	}
	r.putObject("in/a.csv")
	r.putObject("a.csv")
	r.putObject("in/bad.csv")
	r.settled()
	for trigger, want := range map[string][]string{
		"all":    {"delete a.b", "put a.b", "put a.b.c", "put bad", "put bad", "put bad"},
		"some":   {"delete a.b", "put a.b"},
		"csv":    {"put in/a.csv", "put in/bad.csv", "put in/bad.csv", "put in/bad.csv"},
		"events": nil,
	} {
		if got := r.heard(trigger); !slices.Equal(got, want) {
			t.Errorf("%s heard %q, want %q", trigger, got, want)
		}
	}
	for _, trigger := range []string{"all", "csv"} {
		if letters := r.dead(trigger); len(letters) != 1 || letters[0].Reason != delivery.ReasonRetriesUsedUp {
			t.Errorf("dead letters of %s: %+v", trigger, letters)
		}
	}
}

// A function whose own writes call it comes to an end.
func TestChangesOfALoop(t *testing.T) {
	r := newRig(t, status(200), []v1alpha1.Trigger{onKeys("all", "", quick())})
	r.put("a", "1", bus.Write{Hops: delivery.MaxHops})
	r.put("b", "1", bus.Write{Hops: delivery.MaxHops + 1})
	r.settled()
	if got := r.heard("all"); !slices.Equal(got, []string{"put a"}) {
		t.Errorf("heard %q", got)
	}
	if hops := r.function.calls()[0].header.Get("Serviceful-Hops"); hops != fmt.Sprint(delivery.MaxHops) {
		t.Errorf("called with %s hops", hops)
	}
	if letters := r.dead("all"); len(letters) != 1 || letters[0].Reason != delivery.ReasonLoopDetected {
		t.Errorf("dead letters: %+v", letters)
	}
}

// Changes are told however slow the functions are that hear of them, and whatever
// these hold of the memory.
func TestTellingWaitsForNoFunction(t *testing.T) {
	slow := make(chan struct{})
	r := newRig(t, func(http.ResponseWriter, *http.Request) { <-slow }, []v1alpha1.Trigger{onKeys("all", "", quick(concurrency(1)))},
		func(r *rig) { r.config.Memory = 1 })
	defer close(slow)
	r.put("first", "1", bus.Write{})
	eventually(t, "the function is called", func() bool { return len(r.function.calls()) == 1 })
	for i := range 20 {
		r.put(fmt.Sprint("key", i), strings.Repeat("x", 1000), bus.Write{})
	}
	eventually(t, "all changes are in the log", func() bool {
		return len(r.scan(names.Events(shop), names.KeyChanges(shop, "things", ">"))) == 21
	})
}

// While the log takes nothing, changes wait, and none is lost.
func TestTellingInsists(t *testing.T) {
	failing := &failingLog{left: 5}
	r := newRig(t, status(200), []v1alpha1.Trigger{onKeys("all", "", quick())}, func(r *rig) {
		failing.ChangeLog, r.config.Changes = r.config.Changes, failing
	})
	var want []string
	for i := range 5 {
		r.put(fmt.Sprint("key", i), "1", bus.Write{})
		want = append(want, fmt.Sprint("put key", i))
	}
	r.settled()
	if got := r.heard("all"); !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// failingLog fails some times.
type failingLog struct {
	dispatch.ChangeLog
	mu   sync.Mutex
	left int
}

func (f *failingLog) TellChange(ctx context.Context, m *envelope.Message) error {
	f.mu.Lock()
	f.left--
	fails := f.left >= 0
	f.mu.Unlock()
	if fails {
		return bus.ErrUnavailable
	}
	return f.ChangeLog.TellChange(ctx, m)
}

// TestEveryLastStateIsTold has several write, while two dispatchers end and begin
// again at random. In the end the last state of every key was told, each revision
// once, in their order, and the function has heard all that was told.
func TestEveryLastStateIsTold(t *testing.T) {
	const writers, keys, writes, strikes = 4, 8, 60, 6
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := &dice{r: rand.New(rand.NewPCG(seed, 0))}
	r := newRig(t, status(200), []v1alpha1.Trigger{onKeys("all", "", quick())}, withAckWait)
	second := r.another()
	defer func() { second.Stop(context.WithoutCancel(t.Context())) }()

	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range writes {
				r.writeSomething(d, thing(fmt.Sprint("key", d.roll(keys))))
			}
		})
	}
	for i := range strikes {
		time.Sleep(time.Duration(d.roll(100)) * time.Millisecond)
		if i%2 == 0 {
			second.Stop(context.WithoutCancel(t.Context()))
			second = r.another()
		} else {
			r.dispatcher.Stop(context.WithoutCancel(t.Context()))
			r.start()
		}
	}
	writing.Wait()
	r.settled()
	told := map[string][]uint64{} // revisions by key
	for _, m := range r.scan(names.Events(shop), names.KeyChanges(shop, "things", ">")) {
		revision, err := strconv.ParseUint(m.Header.Get("ce-id"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		key := m.Header.Get("ce-subject")
		told[key] = append(told[key], revision)
	}
	heard := map[string]bool{}
	for _, c := range r.function.calls() {
		heard[c.header.Get("Ce-Id")] = true
	}
	r.checkTold(told, heard)
	t.Logf("%d writes were told by %d events, in %d calls", writers*writes, len(heard), len(r.function.calls()))
}

func (r *rig) checkTold(told map[string][]uint64, heard map[string]bool) {
	r.t.Helper()
	for key, revisions := range told {
		if !slices.IsSorted(revisions) || len(slices.Compact(slices.Clone(revisions))) != len(revisions) {
			r.t.Errorf("%s was told in the order %d", key, revisions)
		}
		last, err := r.bus.Last(r.t.Context(), names.BucketStream(shop, "things"), names.Key(shop, "things", key))
		if err != nil {
			r.t.Fatal(err)
		}
		if got := revisions[len(revisions)-1]; got != last.Sequence {
			r.t.Errorf("the last that was told of %s is %d, and it is at %d", key, got, last.Sequence)
		}
		for _, revision := range revisions {
			if !heard[fmt.Sprint(revision)] {
				r.t.Errorf("revision %d of %s was told and not heard", revision, key)
			}
		}
	}
	keys, _, err := r.bus.Keys(r.t.Context(), shop, "things", "", 1000, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, key := range keys {
		if len(told[key]) == 0 {
			r.t.Errorf("%s was never told", key)
		}
	}
}

// writeSomething changes a key, or tries.
func (r *rig) writeSomething(d *dice, k bus.KeyRef) {
	var err error
	switch n := d.roll(10); {
	case n == 0:
		err = r.bus.DeleteKey(r.t.Context(), k, bus.Write{})
	case n == 1:
		_, err = r.bus.Put(r.t.Context(), k, []byte("1"), bus.Write{Absent: true}, 0)
	default:
		_, err = r.bus.Put(r.t.Context(), k, []byte("1"), bus.Write{}, 0)
	}
	if err != nil && !errors.Is(err, bus.ErrConflict) {
		r.t.Error(err)
	}
}

// another starts a second dispatcher.
func (r *rig) another() *dispatch.Dispatcher {
	r.t.Helper()
	d, err := dispatch.New(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := d.Apply(r.t.Context(), r.snapshot.Load()); err != nil {
		r.t.Fatal(err)
	}
	return d
}
