package bus_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// things is the bucket that every test uses.
type things struct {
	t *testing.T
	b *bus.Bus
}

func openThings(t *testing.T) things {
	t.Helper()
	return things{t, start(t)}
}

func (s things) put(key, value string, c bus.Write, ttl time.Duration) (uint64, error) {
	return s.b.Put(s.t.Context(), bus.KeyRef{Namespace: shop, Bucket: "things", Key: key}, []byte(value), c, ttl)
}

func (s things) mustPut(key, value string, c bus.Write, ttl time.Duration) uint64 {
	s.t.Helper()
	revision, err := s.put(key, value, c, ttl)
	if err != nil {
		s.t.Fatalf("putting %s: %v", key, err)
	}
	return revision
}

func (s things) delete(key string, c bus.Write) error {
	return s.b.DeleteKey(s.t.Context(), bus.KeyRef{Namespace: shop, Bucket: "things", Key: key}, c)
}

func (s things) get(key string) (bus.Entry, error) {
	return s.b.Get(s.t.Context(), bus.KeyRef{Namespace: shop, Bucket: "things", Key: key})
}

func (s things) mustDelete(key string) {
	s.t.Helper()
	if err := s.delete(key, bus.Write{}); err != nil {
		s.t.Fatalf("deleting %s: %v", key, err)
	}
}

// expires waits until a key is gone.
func (s things) expires(key string) {
	s.t.Helper()
	eventually(s.t, key+" expires", func() bool { _, err := s.get(key); return errors.Is(err, bus.ErrNotFound) })
}

// want checks the value of a key; "" stands for none.
func (s things) want(key, value string) {
	s.t.Helper()
	e, err := s.get(key)
	if value == "" {
		if !errors.Is(err, bus.ErrNotFound) {
			s.t.Errorf("%s is %q, %v; want ErrNotFound", key, e.Value, err)
		}
		return
	}
	if err != nil || string(e.Value) != value {
		s.t.Errorf("%s is %q, %v; want %q", key, e.Value, err, value)
	}
}

func TestPutGetDelete(t *testing.T) {
	s := openThings(t)
	s.want("key", "")
	first := s.mustPut("key", "one", bus.Write{}, 0)
	s.want("key", "one")
	second := s.mustPut("key", "two", bus.Write{}, 0)
	s.want("key", "two")
	if e, err := s.get("key"); err != nil || e.Revision != second || second <= first {
		t.Errorf("revision %d, %v; put said %d after %d", e.Revision, err, second, first)
	}
	for range 2 {
		if err := s.delete("key", bus.Write{}); err != nil {
			t.Error(err)
		}
		s.want("key", "")
	}
	if _, err := s.b.Get(t.Context(), bus.KeyRef{Namespace: shop, Bucket: "none", Key: "key"}); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a bucket that is not there: %v", err)
	}
}

func TestValues(t *testing.T) {
	s := openThings(t)
	tests := map[string]struct{ key, value string }{
		"empty":           {"empty", ""},
		"bytes":           {"bytes", "\x00\xff\r\n"},
		"the largest":     {"large", string(bytes.Repeat([]byte{7}, bus.MaxValue))},
		"a key of tokens": {"a.b/c=d_e-f", "x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s.mustPut(test.key, test.value, bus.Write{}, 0)
			if e, err := s.get(test.key); err != nil || string(e.Value) != test.value {
				t.Errorf("%d bytes, %v", len(e.Value), err)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	s := openThings(t)
	old := func(key string) uint64 { return s.mustPut(key, "old", bus.Write{}, 0) }
	before := map[string]func(key string) (revision uint64){
		"there":       old,
		"deleted":     func(key string) uint64 { defer s.mustDelete(key); return old(key) },
		"expired":     func(key string) uint64 { return s.mustPut(key, "old", bus.Write{}, time.Second) },
		"never there": func(string) uint64 { return 42 },
	}
	conditions := map[string]struct {
		condition     func(revision uint64) bus.Write
		there, absent bool // whether it holds for a key that is there, and for one that is not
	}{
		"none":             {func(uint64) bus.Write { return bus.Write{} }, true, true},
		"absent":           {func(uint64) bus.Write { return bus.Write{Absent: true} }, false, true},
		"its revision":     {func(r uint64) bus.Write { return bus.Write{Revision: r} }, true, false},
		"another revision": {func(r uint64) bus.Write { return bus.Write{Revision: r + 1_000_000} }, false, false},
	}
	changes := map[string]struct {
		change func(key string, c bus.Write) error
		value  string // afterwards
	}{
		"put":          {func(key string, c bus.Write) error { _, err := s.put(key, "new", c, 0); return err }, "new"},
		"put with TTL": {func(key string, c bus.Write) error { _, err := s.put(key, "new", c, time.Hour); return err }, "new"},
		"delete":       {s.delete, ""},
	}
	var tests []func()
	for state, prepare := range before {
		for condition, test := range conditions {
			for change, do := range changes {
				name := state + "/" + condition + "/" + change
				key := strings.ReplaceAll(name, " ", "_")
				revision := prepare(key)
				tests = append(tests, func() {
					t.Run(name, func(t *testing.T) {
						value, holds := "", test.absent
						switch state {
						case "there":
							value, holds = "old", test.there
						case "expired":
							s.expires(key)
						}
						err := do.change(key, test.condition(revision))
						if change == "delete" && condition == "absent" {
							return // has no meaning
						}
						if holds {
							value = do.value
						}
						if holds && err != nil || !holds && !errors.Is(err, bus.ErrConflict) {
							t.Errorf("%v, although the condition holds: %v", err, holds)
						}
						things{t, s.b}.want(key, value)
					})
				})
			}
		}
	}
	for _, run := range tests {
		run()
	}
}

func TestTTL(t *testing.T) {
	s := openThings(t)
	put := time.Now()
	s.mustPut("short", "x", bus.Write{}, time.Second)
	s.mustPut("created", "x", bus.Write{Absent: true}, time.Second)
	s.mustPut("extended", "x", bus.Write{}, time.Second)
	s.mustPut("kept", "x", bus.Write{}, time.Second)
	s.mustPut("extended", "y", bus.Write{}, time.Hour)
	s.mustPut("kept", "y", bus.Write{}, 0)
	for _, key := range []string{"short", "created"} {
		s.expires(key)
	}
	if age := time.Since(put); age < time.Second {
		t.Errorf("a key expired after %v", age)
	}
	s.want("extended", "y")
	s.want("kept", "y")
	s.mustPut("short", "again", bus.Write{Absent: true}, time.Second)
	s.expires("short")
}

// Counters that are incremented by compare-and-set lose nothing.
func TestCountAtOnce(t *testing.T) {
	const writers, counters, increments = 16, 3, 25
	s := openThings(t)
	increment := func(key string) error {
		for {
			e, err := s.get(key)
			c := bus.Write{Revision: e.Revision}
			if errors.Is(err, bus.ErrNotFound) {
				c = bus.Write{Absent: true}
			} else if err != nil {
				return err
			}
			n, _ := strconv.Atoi(string(e.Value))
			if _, err = s.put(key, strconv.Itoa(n+1), c, 0); !errors.Is(err, bus.ErrConflict) {
				return err
			}
		}
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range increments {
				if err := increment("counter." + strconv.Itoa((w+i)%counters)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for i := range counters {
		e, err := s.get("counter." + strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(string(e.Value))
		sum += n
	}
	if sum != writers*increments {
		t.Errorf("the counters add up to %d, want %d", sum, writers*increments)
	}
}

// Of many who create one key, again and again, each time one does.
func TestCreateAtOnce(t *testing.T) {
	s := openThings(t)
	for round := range 10 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		won := 0
		for range 16 {
			wg.Go(func() {
				_, err := s.put("key", "x", bus.Write{Absent: true}, 0)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else if !errors.Is(err, bus.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Errorf("round %d: %d have created it", round, won)
		}
		s.mustDelete("key")
	}
}

// The bucket is one to NATS's own client as well.
func TestBucketIsAKeyValueBucket(t *testing.T) {
	server := natstest.Server(t)
	s := things{t, natstest.Connect(t, server)}
	layOut(t, s.b)
	kv, err := raw(t, server).KeyValue(t.Context(), "shop_things")
	if err != nil {
		t.Fatal(err)
	}
	s.mustPut("ours", "1", bus.Write{}, 0)
	if e, err := kv.Get(t.Context(), "ours"); err != nil || string(e.Value()) != "1" {
		t.Errorf("it reads %v, %v", e, err)
	}
	if _, err := kv.PutString(t.Context(), "theirs", "2"); err != nil {
		t.Fatal(err)
	}
	s.want("theirs", "2")
	for _, remove := range []func(context.Context, string, ...jetstream.KVDeleteOpt) error{kv.Delete, kv.Purge} {
		if err := remove(t.Context(), "theirs"); err != nil {
			t.Fatal(err)
		}
		s.want("theirs", "")
		s.mustPut("theirs", "3", bus.Write{Absent: true}, 0)
	}
	s.mustDelete("ours")
	if _, err := kv.Get(t.Context(), "ours"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("after our delete it reads %v", err)
	}
}
