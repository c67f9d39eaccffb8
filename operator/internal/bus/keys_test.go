package bus_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

// keys lists all pages of keys, sorted.
func (s things) keys(prefix string, limit int) []string {
	s.t.Helper()
	all := []string{}
	after := uint64(0)
	for {
		page, next, err := s.b.Keys(s.t.Context(), shop, "things", prefix, limit, after)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(page) > limit {
			s.t.Errorf("a page of %d keys, limit %d", len(page), limit)
		}
		if all = append(all, page...); next == 0 {
			slices.Sort(all)
			return all
		}
		if next <= after {
			s.t.Fatalf("the page after %d is %d", after, next)
		}
		after = next
	}
}

func TestKeys(t *testing.T) {
	s := openThings(t)
	for _, key := range []string{"a", "a.1", "a.2", "a.2.x", "ab", "b.1", "dead", "a.dead", "gone"} {
		s.mustPut(key, "value", bus.Write{}, 0)
	}
	for _, key := range []string{"dead", "a.dead"} {
		s.mustDelete(key)
	}
	s.mustPut("gone", "value", bus.Write{}, time.Second)
	s.expires("gone")
	s.mustPut("a", "newer", bus.Write{}, 0)

	tests := map[string][]string{
		"":     {"a", "a.1", "a.2", "a.2.x", "ab", "b.1"},
		"a":    {"a", "a.1", "a.2", "a.2.x", "ab"},
		"a.":   {"a.1", "a.2", "a.2.x"},
		"a.2":  {"a.2", "a.2.x"},
		"a.2.": {"a.2.x"},
		"dead": {},
		"none": {},
	}
	for prefix, want := range tests {
		for _, limit := range []int{1, 2, 3, 1000} {
			if got := s.keys(prefix, limit); !slices.Equal(got, want) {
				t.Errorf("prefix %q, %d a page: %q, want %q", prefix, limit, got, want)
			}
		}
	}
}

func TestManyKeys(t *testing.T) {
	const n = 2345
	s := openThings(t)
	want := make([]string, n)
	for i := range n {
		want[i] = fmt.Sprintf("key.%04d", i)
		s.mustPut(want[i], "value", bus.Write{}, 0)
	}
	for _, limit := range []int{500, 1000, n, 10_000} {
		if got := s.keys("key.", limit); !slices.Equal(got, want) {
			t.Errorf("%d a page: %d keys, want %d", limit, len(got), n)
		}
	}
}

// The server allows a stream only so many consumers.
func TestListsLeaveNoConsumer(t *testing.T) {
	server := natstest.Server(t)
	s := things{t, natstest.Connect(t, server)}
	layOut(t, s.b)
	for _, key := range []string{"a", "b", "c"} {
		s.mustPut(key, "value", bus.Write{}, 0)
	}
	for range 50 {
		s.keys("", 2)
	}
	stream, err := raw(t, server).Stream(t.Context(), "KV_shop_things")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}
