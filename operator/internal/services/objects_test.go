package services

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
)

const objects = "/v1/stores/files/objects"

// putFile stores an object and returns its ETag.
func (f *fixture) putFile(name, content string) string {
	f.Helper()
	r := f.send(writer, "PUT "+objects+"/"+name, "", content)
	f.wantStatus(r, 204)
	return r.Header.Get("ETag")
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return bus.ReprDigest(sum[:])
}

// contents are the subjects on which chunks are kept.
func (f *fixture) contents() map[string]int {
	f.Helper()
	out := map[string]int{}
	for _, m := range f.stored(names.StoreStream("shop", "files"), names.ObjectChunks("shop", "files", ">")) {
		out[m.Subject]++
	}
	return out
}

// TestObject follows one object through its life.
func TestObject(t *testing.T) {
	f := newFixture(t)
	const path = objects + "/2026/caf%C3%A9.csv"
	f.wantProblem(f.send(reader, "GET "+path, "", ""), 404, "no-such-object", "2026/café.csv", "files")
	r := f.send(writer, "PUT "+path, "If-None-Match: *\nContent-Type: text/csv; charset=utf-8\nRepr-Digest: "+digestOf("a,b"), "a,b")
	f.wantStatus(r, 201)
	first := r.Header.Get("ETag")
	if r.Header.Get("Repr-Digest") != digestOf("a,b") || first == "" {
		t.Errorf("answered %v", r.Header)
	}
	for _, method := range []string{"GET", "HEAD"} {
		r = f.send(reader, method+" "+path, "", "")
		h := r.Header
		if r.StatusCode != 200 || r.ContentLength != 3 || h.Get("Content-Type") != "text/csv; charset=utf-8" || h.Get("ETag") != first ||
			h.Get("Repr-Digest") != digestOf("a,b") || h.Get("Accept-Ranges") != "bytes" || h.Get("Last-Modified") == "" || (method == "GET") != (r.body == "a,b") {
			t.Errorf("%s: %s %v %q", method, r.Status, h, r.body)
		}
	}
	f.wantProblem(f.send(writer, "PUT "+path, "If-None-Match: *", "x"), 412, "revision-mismatch", "2026/café.csv")
	r = f.send(writer, "PUT "+path, "If-Match: "+first, "second")
	f.wantStatus(r, 204)
	second := r.Header.Get("ETag")
	f.wantProblem(f.send(writer, "PUT "+path, "If-Match: "+first, "x"), 412, "revision-mismatch")
	f.wantProblem(f.send(writer, "DELETE "+path, "If-Match: "+first, ""), 412, "revision-mismatch")
	f.wantProblem(f.send(writer, "DELETE "+path, "If-None-Match: *", ""), 400, "malformed-condition")
	if r = f.send(reader, "GET "+path, "", ""); r.body != "second" || r.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%s %q %v", r.Status, r.body, r.Header)
	}
	if r = f.send(reader, "GET "+path, "If-None-Match: "+second, ""); r.StatusCode != 304 || r.Header.Get("ETag") != second {
		t.Errorf("unchanged: %s", r.Status)
	}
	f.wantStatus(f.send(reader, "GET "+path, "If-Match: "+second, ""), 200)
	f.wantProblem(f.send(reader, "GET "+path, "If-Match: \"1\"", ""), 412, "revision-mismatch")
	f.wantStatus(f.send(writer, "DELETE "+path, "If-Match: "+second, ""), 204)
	f.wantProblem(f.send(reader, "GET "+path, "", ""), 404, "no-such-object")
	f.wantStatus(f.send(reader, "HEAD "+path, "", ""), 404)
	f.wantStatus(f.send(writer, "DELETE "+path, "", ""), 204) // gone is gone
	if left := f.contents(); len(left) > 0 {
		t.Errorf("there are the contents %v", left)
	}
}

// TestObjectNames checks that any text is a name, and the name of one object.
func TestObjectNames(t *testing.T) {
	f := newFixture(t)
	good := []string{
		"a", "a/b", "/a", "a/", "a//b", "./a", "../../etc", "..", "a b", "*", ">", "a.b.>", "$O.x", "né", "日本", "a?b#c", "%41", "a\r\nX: y", "\x00",
		strings.Repeat("n", names.MaxObject), strings.Repeat("é", names.MaxObject/2),
	}
	for _, name := range good {
		path := objects + "/" + strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
		f.wantStatus(f.send(writer, "PUT "+path, "", "of "+name), 204)
		for _, path := range []string{path, objects + "/" + url.PathEscape(name)} {
			if r := f.send(reader, "GET "+path, "", ""); r.StatusCode != 200 || r.body != "of "+name {
				t.Errorf("object %q: %s %q", name, r.Status, r.body)
			}
		}
	}
	for _, path := range []string{"", "%FF", "a%C3", strings.Repeat("n", names.MaxObject+1)} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			f.wantProblem(f.send(writer, method+" "+objects+"/"+path, "", ""), 400, "malformed-name", names.ObjectRule)
		}
	}
	var list objectList
	r := f.send(reader, "GET "+objects, "", "")
	if err := json.Unmarshal([]byte(r.body), &list); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range list.Objects {
		got = append(got, o.Name)
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(good))) {
		t.Errorf("listed %q", got)
	}
}

func TestObjectRefused(t *testing.T) {
	f := newFixture(t)
	f.putFile("a", "kept")
	for name, test := range map[string]struct{ headers, kind string }{
		"media type cut off":   {"Content-Type: text/", "malformed-content-type"},
		"no type":              {"Content-Type: nonsense", "malformed-content-type"},
		"no text":              {"Content-Type: text/csv; a=\"\xff\"", "malformed-content-type"},
		"long media type":      {"Content-Type: text/csv; a=" + strings.Repeat("b", 250), "malformed-content-type"},
		"no digest":            {"Repr-Digest: sha-256=:x:", "malformed-digest"},
		"short digest":         {"Repr-Digest: sha-256=:YQ==:", "malformed-digest"},
		"empty digest":         {"Repr-Digest:", "malformed-digest"},
		"no field":             {"Repr-Digest: SHA-256=:x:", "malformed-digest"},
		"digest without end":   {"Repr-Digest: " + strings.TrimSuffix(digestOf("new"), ":"), "malformed-digest"},
		"digest, second line":  {"Repr-Digest: md5=:YQ==:\nRepr-Digest: " + digestOf("other"), "digest-mismatch"},
		"two digests":          {"Repr-Digest: " + digestOf("new") + ", " + digestOf("other"), "digest-mismatch"}, // the last counts (RFC 8941)
		"another's digest":     {"Repr-Digest: " + digestOf("other"), "digest-mismatch"},
		"condition without it": {"If-Match: x", "malformed-condition"},
	} {
		t.Run(name, func(t *testing.T) {
			f := f.with(t)
			f.wantProblem(f.send(writer, "PUT "+objects+"/a", test.headers, "new"), 400, test.kind)
		})
	}
	f.wantStatus(f.send(writer, "PUT "+objects+"/b", "Repr-Digest: md5=:YQ==:", "x"), 204) // of another kind: nobody asked
	f.wantStatus(f.send(writer, "PUT "+objects+"/b", "Repr-Digest: "+digestOf("x")+";a=1", "x"), 204)
	for _, query := range []string{"?limit=0", "?limit=10001", "?limit=x", "?after=x", "?after=-1", "?prefix=a%", "?prefix=a%zz", "?prefix=a;b"} {
		f.wantProblem(f.send(reader, "GET "+objects+query, "", ""), 400, "malformed-query")
	}
	if r := f.send(reader, "GET "+objects+"/a", "", ""); r.body != "kept" || len(f.contents()) != 2 {
		t.Errorf("the object holds %q; contents %v", r.body, f.contents())
	}
}

// TestListObjects goes through a store page by page.
func TestListObjects(t *testing.T) {
	f := newFixture(t)
	etags := map[string]string{}
	for i := range 7 {
		name := fmt.Sprintf("a/%d", i)
		etags[name] = f.putFile(name, strings.Repeat("x", i))
	}
	f.putFile("b", "")
	seen := 0
	for after := ""; ; {
		var page objectList
		r := f.send(reader, "GET "+objects+"?prefix=a/&limit=3"+after, "", "")
		if err := json.Unmarshal([]byte(r.body), &page); err != nil || len(page.Objects) > 3 {
			t.Fatalf("%s %s", r.Status, r.body)
		}
		for _, o := range page.Objects {
			if seen++; etags[o.Name] != o.ETag || fmt.Sprintf("a/%d", o.Size) != o.Name || o.ContentType != "application/octet-stream" || o.Modified.IsZero() {
				t.Errorf("listed %+v, want the ETag %s", o, etags[o.Name])
			}
		}
		if after = "&after=" + page.Next; page.Next == "" {
			break
		}
	}
	if seen != 7 {
		t.Errorf("%d objects are listed", seen)
	}
}

// TestBrokenUpload has a function die in the middle of an upload.
func TestBrokenUpload(t *testing.T) {
	f := newFixture(t)
	etag := f.putFile("a", "kept")
	for _, framing := range []string{"Content-Length: 1000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nf0000\r\n"} {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "PUT %s/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n%s%s", objects, f.token[writer], framing, strings.Repeat("n", 400_000))
		f.eventually("some of it is stored", func() bool { return len(f.contents()) == 2 })
		c.Close()
		f.eventually("nothing of it is left", func() bool { return len(f.contents()) == 1 })
	}
	if r := f.send(reader, "GET "+objects+"/a", "", ""); r.body != "kept" || r.Header.Get("ETag") != etag {
		t.Errorf("the object holds %q", r.body)
	}
}

// TestObjectsFull fills the store in the middle of an upload.
func TestObjectsFull(t *testing.T) {
	var room atomic.Int64
	room.Store(1)
	f := newFixture(t, func(c *Config) {
		c.Objects = bus.Inlet{Bus: c.Objects.(*bus.Bus), Room: room.Load}
	})
	f.putFile("a", "kept")
	body, rest := io.Pipe()
	go func() {
		fmt.Fprint(rest, strings.Repeat("n", 300_000))
		room.Store(0)
		fmt.Fprint(rest, strings.Repeat("n", 300_000))
		rest.Close()
	}()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", f.url+objects+"/a", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token[writer])
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	f.wantProblem(reply{resp, string(text)}, 507, "store-full")
	f.wantProblem(f.send(writer, "PUT "+objects+"/b", "", "x"), 507, "store-full")
	if r := f.send(reader, "GET "+objects+"/a", "", ""); r.body != "kept" || len(f.contents()) != 1 {
		t.Errorf("the object holds %q; contents %v", r.body, f.contents())
	}
	f.wantStatus(f.send(writer, "DELETE "+objects+"/a", "", ""), 204) // which makes room
}

// breaking is a store in which objects are replaced while they are read.
type breaking struct {
	*bus.Bus
	left  int // reads that fail
	after int // bytes that they pass on before
}

func (b *breaking) ReadObject(ctx context.Context, o bus.Object, from, length int64, w io.Writer) error {
	if b.left--; b.left < 0 {
		return b.Bus.ReadObject(ctx, o, from, length, w)
	}
	if b.after > 0 {
		if err := b.Bus.ReadObject(ctx, o, from, int64(b.after), w); err != nil {
			return err
		}
	}
	return fmt.Errorf("reading: %w", bus.ErrBroken)
}

// TestObjectReplacedWhileRead checks that an answer that has begun breaks off,
// and one that has not begins anew.
func TestObjectReplacedWhileRead(t *testing.T) {
	broken := &breaking{}
	f := newFixture(t, func(c *Config) { broken.Bus, c.Objects = c.Objects.(*bus.Bus), broken })
	f.putFile("a", "content")
	broken.left = rereads - 1
	if r := f.send(reader, "GET "+objects+"/a", "", ""); r.body != "content" {
		t.Errorf("%s %q", r.Status, r.body)
	}
	broken.left = rereads
	f.wantProblem(f.send(reader, "GET "+objects+"/a", "Range: bytes=1-", ""), 500, "object-broken")
	broken.left, broken.after = 1, 3
	req, err := http.NewRequestWithContext(t.Context(), "GET", f.url+objects+"/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token[reader])
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: deadline} // which asks no second time by itself
	resp, err := once.Do(req)
	if err == nil {
		defer resp.Body.Close()
		var got []byte
		if got, err = io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: read %q, and no error", resp.Status, got)
		}
	}
}

// quirks are the ranges on which net/http is not of RFC 9110's opinion: none of
// the last bytes, and positions that its integers cannot hold.
var quirks = regexp.MustCompile(`^bytes=[ \t]*-0+[ \t]*$|[0-9]{19}`)

// FuzzRange compares the answer to a range with that of net/http's own server of
// files, which the test asks for the ranges that both take.
func FuzzRange(f *testing.F) {
	for _, s := range []string{
		"bytes=0-", "bytes=0-0", "bytes=2-5", "bytes=-3", "bytes=-0", "bytes=9-", "bytes=10-", "bytes=5-2", "bytes=0-99", "bytes=-99", "bytes=", "bytes=-", "bytes=a-b",
		"bytes=0-1,3-4", "bytes= 1-2 ", "items=0-1", "bytes=99999999999999999999-", "bytes=0-99999999999999999999", "bytes=+1-2", "bytes=1--2", "",
	} {
		f.Add(s, uint8(10))
	}
	f.Fuzz(func(t *testing.T, header string, n uint8) {
		content := bytes.Repeat([]byte("0123456789"), 26)[:n]
		o := bus.Object{Size: int64(n), Revision: 7, Placed: true}
		part, status := partOf(http.Header{"Range": {header}}, o)
		if part.from < 0 || part.length < 0 || part.from+part.length > o.Size || status == 200 && part != (span{0, o.Size}) {
			t.Fatalf("%q of %d bytes: %v, %d", header, n, part, status)
		}
		if _, got := partOf(http.Header{"Range": {header}, "If-Range": {`"6"`}}, o); got != 200 {
			t.Errorf("%q of another revision: %d", header, got)
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Range", header)
		http.ServeContent(w, r, "a.bin", time.Time{}, bytes.NewReader(content))
		if status == 200 || n == 0 || quirks.MatchString(header) { // net/http also takes several parts and refuses what is malformed
			return
		}
		if w.Code != status || status == 206 && (!bytes.Equal(w.Body.Bytes(), content[part.from:part.from+part.length]) || w.Header().Get("Content-Range") != part.of(o.Size)) {
			t.Errorf("%q of %d bytes: %v, %d, want %d %s", header, n, part, status, w.Code, w.Header().Get("Content-Range"))
		}
	})
}

// TestRanges reads random parts of an object of several chunks.
func TestRanges(t *testing.T) {
	f := newFixture(t)
	source := rand.New(rand.NewPCG(3, 4))
	var b strings.Builder
	for b.Len() < 400_000 {
		b.WriteString(strconv.FormatUint(source.Uint64(), 36))
	}
	content := b.String()
	etag, size := f.putFile("a", content), b.Len()
	for range 20 {
		from := source.IntN(size)
		to := from + source.IntN(size-from)
		r := f.send(reader, "GET "+objects+"/a", fmt.Sprintf("Range: bytes=%d-%d\nIf-Range: %s", from, to, etag), "")
		if r.StatusCode != 206 || r.body != content[from:to+1] || r.ContentLength != int64(to-from+1) ||
			r.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", from, to, size) || r.Header.Get("Repr-Digest") != digestOf(content) {
			t.Errorf("bytes %d to %d: %s %v", from, to, r.Status, r.Header)
		}
	}
	r := f.send(reader, "GET "+objects+"/a", fmt.Sprintf("Range: bytes=%d-", size), "")
	if f.wantProblem(r, 416, "range-not-satisfiable"); r.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
		t.Errorf("Content-Range: %s", r.Header.Get("Content-Range"))
	}
	if r = f.send(reader, "HEAD "+objects+"/a", "Range: bytes=5-6", ""); r.StatusCode != 206 || r.ContentLength != 2 {
		t.Errorf("HEAD: %s, %d bytes", r.Status, r.ContentLength)
	}
	for _, headers := range []string{"Range: bytes=0-1,5-6", "Range: bytes=x", "Range: bytes=0-1\nIf-Range: \"1\""} {
		if r = f.send(reader, "GET "+objects+"/a", headers, ""); r.StatusCode != 200 || r.body != content {
			t.Errorf("%s: %s, %d bytes", headers, r.Status, len(r.body))
		}
	}
}

func (b broken) Object(context.Context, bus.ObjectRef) (bus.Object, error) {
	return bus.Object{}, b.err
}

func (b broken) DeleteObject(context.Context, bus.ObjectRef, bus.Write) error { return b.err }

func (b broken) ReadObject(context.Context, bus.Object, int64, int64, io.Writer) error { return b.err }

func (b broken) PutObject(context.Context, bus.ObjectRef, bus.Upload, bus.Write) (bus.Object, error) {
	return bus.Object{}, b.err
}

func (b broken) Objects(context.Context, string, string, string, int, uint64) ([]bus.Object, uint64, error) {
	return nil, 0, b.err
}

func TestSlowUpload(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Objects = broken{fmt.Errorf("uploading: %w", bus.ErrTooSlow)} })
	f.wantProblem(f.send(writer, "PUT "+objects+"/a", "", "x"), 408, "body-stalled")
}
