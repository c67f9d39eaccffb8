package services

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/names"
)

const keys = "/v1/buckets/stock/keys"

// put sets a key and returns its ETag.
func (f *fixture) put(key, value string) string {
	f.Helper()
	r := f.send(writer, "PUT "+keys+"/"+key, "", value)
	f.wantStatus(r, 204)
	return r.Header.Get("ETag")
}

func (f *fixture) get(as names.Function, key string) reply {
	f.Helper()
	return f.send(as, "GET "+keys+"/"+key, "", "")
}

// wantValue checks what a key holds.
func (f *fixture) wantValue(key, value, etag string) {
	f.Helper()
	r := f.get(reader, key)
	if r.StatusCode != 200 || r.body != value || r.Header.Get("ETag") != etag || r.Header.Get("Content-Type") != "application/octet-stream" {
		f.Fatalf("got %s %q, ETag %s, %q, want %q, ETag %s", r.Status, r.body, r.Header.Get("ETag"), r.Header.Get("Content-Type"), value, etag)
	}
}

// TestKey follows one key through its life.
func TestKey(t *testing.T) {
	f := newFixture(t)
	f.wantProblem(f.get(reader, "apples"), 404, "no-such-key", "apples", "stock")
	r := f.send(writer, "PUT "+keys+"/apples", "If-None-Match: *", "1")
	f.wantStatus(r, 201)
	first := r.Header.Get("ETag")
	f.wantValue("apples", "1", first)
	f.wantProblem(f.send(writer, "PUT "+keys+"/apples", "If-None-Match: *", "x"), 412, "revision-mismatch", "apples")
	second := f.put("apples", "2")
	if first == second || first == "" {
		t.Errorf("ETags %s and %s", first, second)
	}
	f.wantValue("apples", "2", second)
	f.wantProblem(f.send(writer, "PUT "+keys+"/apples", "If-Match: "+first, "x"), 412, "revision-mismatch")
	f.wantProblem(f.send(writer, "DELETE "+keys+"/apples", "If-Match: "+first, ""), 412, "revision-mismatch")
	r = f.send(writer, "PUT "+keys+"/apples", "If-Match: "+second, "3")
	f.wantStatus(r, 204)
	third := r.Header.Get("ETag")
	f.wantValue("apples", "3", third)
	head := f.send(reader, "HEAD "+keys+"/apples", "", "")
	if head.StatusCode != 200 || head.Header.Get("ETag") != third || head.ContentLength != 1 || head.body != "" {
		t.Errorf("HEAD: %s %v", head.Status, head.Header)
	}
	unchanged := f.send(reader, "GET "+keys+"/apples", "If-None-Match: "+third, "")
	if f.wantStatus(unchanged, 304); unchanged.Header.Get("ETag") != third {
		t.Errorf("ETag of a 304: %s", unchanged.Header.Get("ETag"))
	}
	for condition, want := range map[string]int{
		"If-None-Match: \"0\", W/" + third: 304, "If-None-Match: *": 304, "If-Match: \"0\", " + third: 200, "If-Match: *": 200,
	} {
		f.wantStatus(f.send(reader, "GET "+keys+"/apples", condition, ""), want)
	}
	f.wantProblem(f.send(reader, "GET "+keys+"/apples", "If-Match: "+second, ""), 412, "revision-mismatch", "apples")
	f.wantStatus(f.send(reader, "GET "+keys+"/apples", "If-None-Match: "+second, ""), 200)
	f.wantStatus(f.send(writer, "DELETE "+keys+"/apples", "If-Match: "+third, ""), 204)
	f.wantProblem(f.get(reader, "apples"), 404, "no-such-key")
	f.wantStatus(f.send(reader, "HEAD "+keys+"/apples", "", ""), 404)
	f.wantStatus(f.send(writer, "DELETE "+keys+"/apples", "", ""), 204) // gone is gone
	f.wantProblem(f.send(writer, "PUT "+keys+"/apples", "If-Match: "+third, "x"), 412, "revision-mismatch")
	r = f.send(writer, "PUT "+keys+"/apples", "If-None-Match: *", "4") // again, for it is not there
	f.wantStatus(r, 201)
	f.wantValue("apples", "4", r.Header.Get("ETag"))
}

func TestValue(t *testing.T) {
	f := newFixture(t)
	for name, value := range map[string]string{
		"nothing": "", "binary": "\x00\xff\r\n", "text": "né", "as large as may be": strings.Repeat("a", 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.wantValue("key", value, f.put("key", value))
		})
	}
	f.wantProblem(f.send(writer, "PUT "+keys+"/key", "", strings.Repeat("a", 200_001)), 413, "body-too-large", "200000")
	f.wantStatus(f.get(reader, "key"), 200)
}

// TestKeySyntax checks that a key is what NATS takes for one, and that what is
// none is told the rule.
func TestKeySyntax(t *testing.T) {
	f := newFixture(t)
	good := []string{
		"a", "A.b.C", "a/b", "a%2Fb/c", "/a", "a/", "a//b", "a=b_c-d", "-", "=", strings.Repeat("a", names.MaxKey), "%61pples", "allocation.6331",
	}
	for _, key := range good {
		f.wantStatus(f.send(writer, "PUT "+keys+"/"+key, "", key), 204)
		if r := f.get(reader, key); r.StatusCode != 200 || r.body != key {
			t.Errorf("key %q: %s %q", key, r.Status, r.body)
		}
	}
	if r := f.get(reader, "a/b/c"); r.body != "a%2Fb/c" { // one key, written in two ways
		t.Errorf("got %s %q", r.Status, r.body)
	}
	bad := []string{
		"", ".", "..", ".a", "a.", "a..b", "a/../b", "a%20b", "%20", "ann@example.org", "ann%40example.org", "a*", "%2A", "a.%3E", ">", "a+b", "a:b", "$a",
		"n%C3%A9", "%FF", "%00", "a%0Ab", "a%0D%0AX:b", "a%7Eb", "a%25b", "a,b", "a%5Cb", strings.Repeat("a", names.MaxKey+1),
	}
	for _, key := range bad {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			f.wantProblem(f.send(writer, method+" "+keys+"/"+key, "", ""), 400, "malformed-key", names.KeyRule)
		}
	}
	if n := len(f.stored(names.BucketStream("shop", "stock"), ">")); n != len(good) {
		t.Errorf("%d keys are stored, want %d", n, len(good))
	}
}

func TestBadConditions(t *testing.T) {
	f := newFixture(t)
	f.put("apples", "1")
	tests := map[string]struct{ request, headers, kind string }{
		"no ETag":                    {"PUT", "If-Match: what", "malformed-condition"},
		"ETag without quotes":        {"PUT", "If-Match: 7", "malformed-condition"},
		"ETag spelled otherwise":     {"PUT", `If-Match: "007"`, "malformed-condition"},
		"ETag of one quote":          {"PUT", `If-Match: "7`, "malformed-condition"},
		"ETag that is no revision":   {"PUT", `If-Match: "0"`, "malformed-condition"},
		"negative":                   {"PUT", `If-Match: "-1"`, "malformed-condition"},
		"too large":                  {"PUT", `If-Match: "99999999999999999999"`, "malformed-condition"},
		"any":                        {"PUT", "If-Match: *", "malformed-condition"},
		"a list":                     {"PUT", `If-Match: "1", "2"`, "malformed-condition"},
		"an ETag that is empty":      {"PUT", "If-Match:", "malformed-condition"},
		"two lines":                  {"PUT", "If-Match: \"1\"\nIf-Match: \"2\"", "malformed-condition"},
		"deleting an empty ETag":     {"DELETE", "If-Match:", "malformed-condition"},
		"none of nothing":            {"PUT", "If-None-Match:", "malformed-condition"},
		"not a given revision":       {"PUT", `If-None-Match: "1"`, "malformed-condition"},
		"both":                       {"PUT", "If-Match: \"1\"\nIf-None-Match: *", "malformed-condition"},
		"deleting what is not there": {"DELETE", "If-None-Match: *", "malformed-condition"},
		"a part":                     {"PUT", "Content-Range: bytes 0-1/4", "malformed-condition"},
		"a TTL that is empty":        {"PUT", "Serviceful-TTL:", "malformed-ttl"},
		"TTL without a unit":         {"PUT", "Serviceful-TTL: 90", "malformed-ttl"},
		"TTL that is too short":      {"PUT", "Serviceful-TTL: 999ms", "malformed-ttl"},
		"negative TTL":               {"PUT", "Serviceful-TTL: -1h", "malformed-ttl"},
		"TTL in words":               {"PUT", "Serviceful-TTL: a day", "malformed-ttl"},
		"TTL for ages":               {"PUT", "Serviceful-TTL: 99999999h", "malformed-ttl"},
		"TTL past NATS's time":       {"PUT", "Serviceful-TTL: 2540400h", "malformed-ttl"},
		"TTL that is too long":       {"PUT", "Serviceful-TTL: 87600h1ns", "malformed-ttl"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.wantProblem(f.send(writer, test.request+" "+keys+"/apples", test.headers, "x"), 400, test.kind)
			if r := f.get(reader, "apples"); r.body != "1" {
				t.Errorf("the key holds %q", r.body)
			}
		})
	}
}

// TestTTL checks that a key goes by itself, and may come again then.
func TestTTL(t *testing.T) {
	f := newFixture(t)
	f.wantStatus(f.send(writer, "PUT "+keys+"/short", "Serviceful-TTL: 1s\nIf-None-Match: *", "1"), 201)
	f.wantStatus(f.send(writer, "PUT "+keys+"/long", "Serviceful-TTL: 24h", "1"), 204)
	f.wantStatus(f.send(writer, "PUT "+keys+"/long", "Serviceful-TTL: 87600h", "1"), 204)
	f.wantStatus(f.send(writer, "PUT "+keys+"/renewed", "Serviceful-TTL: 1s", "1"), 204)
	f.wantStatus(f.send(writer, "PUT "+keys+"/renewed", "", "2"), 204) // for good
	f.eventually("the short one goes", func() bool { return f.get(reader, "short").StatusCode == 404 })
	f.wantStatus(f.get(reader, "long"), 200)
	f.wantStatus(f.get(reader, "renewed"), 200)
	if got := f.list("", nil); !slices.Equal(got, []string{"long", "renewed"}) {
		t.Errorf("listed %q", got)
	}
	f.wantStatus(f.send(writer, "PUT "+keys+"/short", "If-None-Match: *", "2"), 201)
	f.wantStatus(f.get(reader, "short"), 200)
}

// TestTTLInWholeSeconds checks that no key goes before its time.
func TestTTLInWholeSeconds(t *testing.T) {
	f := newFixture(t)
	for ttl, want := range map[string]string{"1s": "1s", "1s1ns": "2s", "1999ms": "2s", "90s": "1m30s", "87599.9999h": "87600h0m0s"} {
		f.wantStatus(f.send(writer, "PUT "+keys+"/apples", "Serviceful-TTL: "+ttl, "1"), 204)
		entries := f.stored(names.BucketStream("shop", "stock"), ">")
		if got := entries[len(entries)-1].Header.Get("Nats-TTL"); got != want {
			t.Errorf("%s is stored as %s, want %s", ttl, got, want)
		}
	}
}

// list is all keys that a query lists, sorted; page, where given, counts the
// keys of each page.
func (f *fixture) list(query string, page func(n int)) (all []string) {
	f.Helper()
	for after := ""; ; {
		r := f.send(reader, "GET "+keys+"?"+query+after, "", "")
		var list keyList
		if err := json.Unmarshal([]byte(r.body), &list); err != nil || r.StatusCode != 200 || list.Keys == nil || r.Header.Get("Content-Type") != "application/json" {
			f.Fatalf("got %s %v %s", r.Status, r.Header, r.body)
		}
		if page != nil {
			page(len(list.Keys))
		}
		all = append(all, list.Keys...)
		if list.Next == "" {
			slices.Sort(all)
			return all
		}
		after = "&after=" + list.Next
	}
}

func TestList(t *testing.T) {
	f := newFixture(t)
	if got := f.list("", nil); len(got) != 0 {
		t.Errorf("an empty bucket lists %q", got)
	}
	for _, key := range []string{"gone", "a.b", "a.c", "a.b.d", "ab", "b/c", "a", "last"} {
		f.put(key, "1")
	}
	f.put("a.b", "2") // once in the list all the same
	f.wantStatus(f.send(writer, "DELETE "+keys+"/gone", "", ""), 204)
	f.wantStatus(f.send(writer, "DELETE "+keys+"/last", "", ""), 204)
	tests := map[string]struct {
		query string
		want  []string
	}{
		"all":                        {"", []string{"a", "a.b", "a.b.d", "a.c", "ab", "b/c"}},
		"prefix to a dot":            {"prefix=a.", []string{"a.b", "a.b.d", "a.c"}},
		"deeper prefix":              {"prefix=a.b.", []string{"a.b.d"}},
		"any prefix":                 {"prefix=a", []string{"a", "a.b", "a.b.d", "a.c", "ab"}},
		"prefix with a slash":        {"prefix=b%2F", []string{"b/c"}},
		"prefix that is the key":     {"prefix=a.c", []string{"a.c"}},
		"prefix of nothing":          {"prefix=c", nil},
		"prefix of nothing to a dot": {"prefix=c.", nil},
		"of deleted ones":            {"prefix=gone", nil},
	}
	for name, test := range tests {
		for _, limit := range []int{1, 2, 3, 1000, 10_000} {
			t.Run(fmt.Sprintf("%s, %d a page", name, limit), func(t *testing.T) {
				f := f.with(t)
				got := f.list(fmt.Sprintf("limit=%d&%s", limit, test.query), func(n int) {
					if n > limit {
						t.Errorf("a page of %d", n)
					}
				})
				if !slices.Equal(got, test.want) {
					t.Errorf("listed %q, want %q", got, test.want)
				}
			})
		}
	}
	for _, query := range []string{
		"limit=0", "limit=-1", "limit=10001", "limit=a", "limit=1.5", "after=a", "after=-1", "after=99999999999999999999", "after=18446744073709551615",
		"prefix=a%", "prefix=a%zz", "prefix=a;b", "limit=1%",
	} {
		f.wantProblem(f.send(reader, "GET "+keys+"?"+query, "", ""), 400, "malformed-query")
	}
	for _, prefix := range []string{".", "..", "a..", ".a", "*", "a.*", "%3E", "a%20", "ann@", "%FF"} {
		f.wantProblem(f.send(reader, "GET "+keys+"?prefix="+prefix, "", ""), 400, "malformed-key", names.KeyRule)
	}
	if got := f.list("after=9223372036854775806", nil); len(got) != 0 {
		t.Errorf("behind the end are %q", got)
	}
}

// TestListIsBounded checks the number of keys of a page where none is given.
func TestListIsBounded(t *testing.T) {
	f := newFixture(t)
	const n = defaultPage + 5
	for i := range n {
		f.put(fmt.Sprint(i), "")
	}
	pages := []int{}
	if got := f.list("", func(n int) { pages = append(pages, n) }); len(got) != n || pages[0] != defaultPage {
		t.Errorf("%d keys in pages of %d", len(got), pages)
	}
}

// TestCompareAndSetAtOnce has many functions count in one key, each by
// compare-and-set: no step is lost.
func TestCompareAndSetAtOnce(t *testing.T) {
	f := newFixture(t)
	f.put("count", "")
	var won atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				for {
					r := f.get(writer, "count")
					r = f.send(writer, "PUT "+keys+"/count", "If-Match: "+r.Header.Get("ETag"), r.body+"x")
					if r.StatusCode == 204 {
						won.Add(1)
						break
					}
					if r.StatusCode != 412 {
						t.Errorf("got %s %s", r.Status, r.body)
						return
					}
				}
			}
		})
	}
	all.Wait()
	if r := f.get(reader, "count"); len(r.body) != 80 || won.Load() != 80 {
		t.Errorf("counted to %d, %d times", len(r.body), won.Load())
	}
}

// TestCreateAtOnce has many functions create one key: one of them does.
func TestCreateAtOnce(t *testing.T) {
	f := newFixture(t)
	for round := range 5 {
		key := fmt.Sprintf("%s/claim.%d", keys, rand.IntN(2)) // one that is new, or that was deleted
		var created atomic.Int32
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				switch r := f.send(writer, "PUT "+key, "If-None-Match: *", "1"); r.StatusCode {
				case 201:
					created.Add(1)
				case 412:
				default:
					t.Errorf("got %s %s", r.Status, r.body)
				}
			})
		}
		all.Wait()
		if n := created.Load(); n != 1 {
			t.Errorf("round %d: %d created it", round, n)
		}
		f.wantStatus(f.send(writer, "DELETE "+key, "", ""), 204)
	}
}

// TestTwoNamespaces checks that buckets of one name are two buckets.
func TestTwoNamespaces(t *testing.T) {
	f := newFixture(t)
	etag := f.put("apples", "ours")
	f.wantProblem(f.get(stranger, "apples"), 404, "no-such-key")
	f.wantProblem(f.send(stranger, "PUT "+keys+"/apples", "If-Match: "+etag, "x"), 412, "revision-mismatch")
	f.wantStatus(f.send(stranger, "PUT "+keys+"/apples", "If-None-Match: *", "theirs"), 201)
	f.wantStatus(f.send(stranger, "PUT "+keys+"/pears", "", "theirs"), 204)
	f.wantStatus(f.send(stranger, "DELETE "+keys+"/apples", "", ""), 204)
	f.wantValue("apples", "ours", etag)
	if got := f.list("", nil); !slices.Equal(got, []string{"apples"}) {
		t.Errorf("listed %q", got)
	}
}

// TestHopsOfChanges checks that what is changed keeps how far the change is from
// its first cause.
func TestHopsOfChanges(t *testing.T) {
	f := newFixture(t)
	const object = "/v1/stores/files/objects/a"
	for _, request := range []string{"PUT " + keys + "/a", "DELETE " + keys + "/a", "PUT " + object, "DELETE " + object} {
		f.wantStatus(f.send(writer, request, "Serviceful-Hops: 3", "x"), 204)
		stream, subject := names.BucketStream("shop", "stock"), names.Key("shop", "stock", "a")
		if strings.HasSuffix(request, object) {
			stream, subject = names.StoreStream("shop", "files"), names.ObjectInfo("shop", "files", "a")
		}
		m, err := f.bus.Last(t.Context(), stream, subject)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get("Serviceful-Hops"); got != "4" {
			t.Errorf("%s: %q hops, want 4", request, got)
		}
		f.wantProblem(f.send(writer, request, "Serviceful-Hops: x", "x"), 400, "malformed-hops")
	}
}
