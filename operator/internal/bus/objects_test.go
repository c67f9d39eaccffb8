package bus_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// piece is the size of a chunk: a content is cut where it is full.
const piece = 128 << 10

func ref(name string) bus.ObjectRef {
	return bus.ObjectRef{Namespace: shop, Store: "files", Name: name}
}

// files is a server with the object store files, a connection of the bus to it,
// and NATS's own view of the store.
func files(t *testing.T) (*bus.Bus, jetstream.ObjectStore, jetstream.Stream) {
	t.Helper()
	b, _, store, stream := filesAndNATS(t)
	return b, store, stream
}

func filesAndNATS(t *testing.T) (*bus.Bus, jetstream.JetStream, jetstream.ObjectStore, jetstream.Stream) {
	t.Helper()
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOutFiles(t, b)
	js := raw(t, s)
	store, err := js.ObjectStore(t.Context(), names.Store(shop, "files"))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), names.StoreStream(shop, "files"))
	if err != nil {
		t.Fatal(err)
	}
	return b, js, store, stream
}

func layOutFiles(t *testing.T, b *bus.Bus) {
	t.Helper()
	f := function()
	f.Spec.Bindings = []v1alpha1.Binding{{Objects: &v1alpha1.ObjectsBinding{Store: "files"}}}
	if err := (bus.Layout{Bus: b}).Apply(t.Context(), wiring.Compile([]v1alpha1.Function{f}, wiring.Hosts{Any: true})); err != nil {
		t.Fatal(err)
	}
}

func upload(t *testing.T, b *bus.Bus, name string, content []byte) bus.Object {
	t.Helper()
	o, err := b.PutObject(t.Context(), ref(name), bus.Upload{Body: bytes.NewReader(content)}, bus.Write{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// contents are the subjects on which chunks are kept.
func contents(t *testing.T, stream jetstream.Stream) map[string]uint64 {
	t.Helper()
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(names.ObjectChunks(shop, "files", ">")))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects
}

// random is n bytes that are no others'.
func random(n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = source.Read(b) // never fails
	return b
}

func wantPart(t *testing.T, b *bus.Bus, o bus.Object, from, length int64, want []byte) {
	t.Helper()
	var got bytes.Buffer
	if err := b.ReadObject(t.Context(), o, from, length, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("bytes %d to %d of %q: %d bytes that differ, error %v", from, from+length, o.Name, got.Len(), err)
	}
}

// TestObjectSizes writes and reads objects around the size of a chunk, whole and
// in random parts, beside uploads that come between.
func TestObjectSizes(t *testing.T) {
	b, _, _ := files(t)
	var uploads sync.WaitGroup
	sizes := []int{0, 1, 2, piece - 1, piece, piece + 1, 3 * piece, 9*piece + 17, 20*piece + 1}
	for _, n := range sizes {
		uploads.Go(func() { upload(t, b, fmt.Sprint(n), random(n)) })
	}
	uploads.Wait()
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range sizes {
		o, err := b.Object(t.Context(), ref(fmt.Sprint(n)))
		content := random(n)
		digest := sha256.Sum256(content)
		if err != nil || o.Size != int64(n) || !o.Placed || !bytes.Equal(o.Digest, digest[:]) {
			t.Fatalf("%d bytes: got %+v, %v", n, o, err)
		}
		wantPart(t, b, o, 0, o.Size, content)
		for range 8 {
			from := r.Int64N(o.Size + 1)
			length := r.Int64N(o.Size - from + 1)
			wantPart(t, b, o, from, length, content[from:from+length])
		}
		for at := int64(0); at < o.Size; at += piece { // each chunk is found
			wantPart(t, b, o, at, 1, content[at:at+1])
		}
	}
}

// TestObjectsOfOthers has NATS's own client read what the bus writes, and the bus
// what that writes.
func TestObjectsOfOthers(t *testing.T) {
	b, store, _ := files(t)
	content := random(5*piece + 3)
	_, err := b.PutObject(t.Context(), ref("ours/é.csv"), bus.Upload{ContentType: "text/csv", Body: bytes.NewReader(content)}, bus.Write{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.GetBytes(t.Context(), "ours/é.csv")
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("NATS's client read %d bytes, error %v", len(got), err)
	}
	info, err := store.GetInfo(t.Context(), "ours/é.csv")
	if err != nil || info.Chunks != 6 || info.Headers.Get("Content-Type") != "text/csv" || info.Bucket != "shop_files" {
		t.Errorf("NATS's client sees %+v, error %v", info, err)
	}
	if _, err := store.Put(t.Context(), jetstream.ObjectMeta{Name: "theirs"}, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	o, err := b.Object(t.Context(), ref("theirs"))
	if err != nil || o.Placed || o.Size != int64(len(content)) {
		t.Fatalf("theirs is %+v, error %v", o, err)
	}
	wantPart(t, b, o, 0, o.Size, content)
	if _, err := store.AddLink(t.Context(), "link", info); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Object(t.Context(), ref("link")); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a link is %v", err)
	}
	if err := b.DeleteObject(t.Context(), ref("theirs"), bus.Write{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.GetInfo(t.Context(), "theirs"); !errors.Is(err, jetstream.ErrObjectNotFound) {
		t.Errorf("NATS's client sees a deleted object: %v", err)
	}
	if err := store.Delete(t.Context(), "ours/é.csv"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Object(t.Context(), ref("ours/é.csv")); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("an object that NATS's client deleted is %v", err)
	}
}

func TestObjectConditions(t *testing.T) {
	b, _, stream := files(t)
	write := func(c bus.Write) (bus.Object, error) {
		return b.PutObject(t.Context(), ref("a"), bus.Upload{Body: bytes.NewReader([]byte("x"))}, c)
	}
	steps := []struct {
		do   func(last bus.Object) (bus.Object, error)
		want error
	}{
		{func(bus.Object) (bus.Object, error) { return write(bus.Write{Revision: 1}) }, bus.ErrConflict},
		{func(bus.Object) (bus.Object, error) { return write(bus.Write{Absent: true}) }, nil},
		{func(bus.Object) (bus.Object, error) { return write(bus.Write{Absent: true}) }, bus.ErrConflict},
		{func(o bus.Object) (bus.Object, error) { return write(bus.Write{Revision: o.Revision + 1}) }, bus.ErrConflict},
		{func(o bus.Object) (bus.Object, error) { return write(bus.Write{Revision: o.Revision}) }, nil},
		{func(o bus.Object) (bus.Object, error) {
			return o, b.DeleteObject(t.Context(), ref("a"), bus.Write{Revision: o.Revision + 1})
		}, bus.ErrConflict},
		{func(o bus.Object) (bus.Object, error) {
			return o, b.DeleteObject(t.Context(), ref("a"), bus.Write{Revision: o.Revision})
		}, nil},
		{func(o bus.Object) (bus.Object, error) {
			return o, b.DeleteObject(t.Context(), ref("a"), bus.Write{Revision: o.Revision})
		}, bus.ErrConflict},
		{func(o bus.Object) (bus.Object, error) {
			return o, b.DeleteObject(t.Context(), ref("a"), bus.Write{})
		}, nil},
		{func(o bus.Object) (bus.Object, error) { return write(bus.Write{Revision: o.Revision}) }, bus.ErrConflict},
		{func(bus.Object) (bus.Object, error) { return write(bus.Write{Absent: true}) }, nil},
	}
	var last bus.Object
	for i, step := range steps {
		o, err := step.do(last)
		if !errors.Is(err, step.want) || step.want == nil && err != nil {
			t.Fatalf("step %d: %v, want %v", i, err, step.want)
		}
		if err == nil {
			last = o
		}
	}
	if left := contents(t, stream); len(left) != 1 {
		t.Errorf("there are the contents %v, want one", left)
	}
}

// TestObjectWriters has many write one object at once: one of them is the last,
// and nothing of the others is left.
func TestObjectWriters(t *testing.T) {
	b, _, stream := files(t)
	var writers sync.WaitGroup
	created := make(chan int, 16)
	for i := range 16 {
		writers.Go(func() {
			upload(t, b, "a", random(piece+i))
			_, err := b.PutObject(t.Context(), ref("once"), bus.Upload{Body: bytes.NewReader(random(i))}, bus.Write{Absent: true})
			if err == nil {
				created <- i
			} else if !errors.Is(err, bus.ErrConflict) {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	if len(created) != 1 {
		t.Fatalf("%d of the writers created the object", len(created))
	}
	for name, n := range map[string]int{"a": -1, "once": <-created} {
		o, err := b.Object(t.Context(), ref(name))
		if err != nil || n >= 0 && o.Size != int64(n) {
			t.Fatalf("%q is %+v, error %v, want %d bytes", name, o, err, n)
		}
		wantPart(t, b, o, 0, o.Size, random(int(o.Size)))
	}
	if left := contents(t, stream); len(left) > 2 { // the one that was created may be empty
		t.Errorf("there are the contents %v", left)
	}
}

// breaking is a body that breaks off, or runs out of room.
type breaking struct {
	left int
	err  error
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, b.err
	}
	n := min(len(p), b.left, 1000)
	b.left -= n
	return n, nil
}

// TestUploadFails checks that an upload that does not come whole changes nothing
// and leaves nothing.
func TestUploadFails(t *testing.T) {
	b, _, stream := files(t)
	before := upload(t, b, "a", random(10))
	room := 30
	in := bus.Inlet{Bus: b, Room: func() int64 { room--; return int64(room) }}
	for name, test := range map[string]struct {
		put  func(context.Context, bus.ObjectRef, bus.Upload, bus.Write) (bus.Object, error)
		body io.Reader
		want error
	}{
		"cut":          {b.PutObject, &breaking{12*piece + 5, io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF},
		"cut at once":  {b.PutObject, &breaking{0, io.ErrUnexpectedEOF}, io.ErrUnexpectedEOF},
		"no more room": {in.PutObject, &breaking{12 * piece, io.EOF}, bus.ErrFull},
		"other digest": {b.PutObject, bytes.NewReader(random(2 * piece)), bus.ErrDigest},
	} {
		if _, err := test.put(t.Context(), ref("a"), bus.Upload{Body: test.body, Digest: make([]byte, 32)}, bus.Write{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if left := contents(t, stream); len(left) != 1 {
			t.Errorf("%s: there are the contents %v", name, left)
		}
	}
	if after, err := b.Object(t.Context(), ref("a")); err != nil || after.Revision != before.Revision {
		t.Errorf("the object is %+v, error %v", after, err)
	}
}

// TestDamagedObject takes chunks away and puts others in: no reader gets all the
// bytes and takes them for the object.
func TestDamagedObject(t *testing.T) {
	b, _, stream := files(t)
	for name, n := range map[string]int{"the first": 0, "one in the middle": 2, "the last": 4} {
		t.Run(name, func(t *testing.T) {
			content := random(4*piece + 100)
			o := upload(t, b, "a", content)
			var sequences []uint64
			for subject := range contents(t, stream) {
				for at := uint64(1); ; {
					m, err := stream.GetMsg(t.Context(), at, jetstream.WithGetMsgSubject(subject))
					if err != nil {
						break
					}
					sequences, at = append(sequences, m.Sequence), m.Sequence+1
				}
			}
			if err := stream.DeleteMsg(t.Context(), sequences[n]); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := b.ReadObject(t.Context(), o, 0, o.Size, &got); !errors.Is(err, bus.ErrBroken) || !bytes.HasPrefix(content, got.Bytes()) || got.Len() >= len(content) {
				t.Errorf("read %d bytes of %d, error %v", got.Len(), len(content), err)
			}
			got.Reset()
			if err := b.ReadObject(t.Context(), o, int64(n*piece), 10, &got); !errors.Is(err, bus.ErrBroken) || got.Len() > 0 {
				t.Errorf("read %d bytes of what is gone, error %v", got.Len(), err)
			}
		})
	}
	t.Run("other bytes", func(t *testing.T) {
		o := upload(t, b, "a", random(3*piece))
		o.Digest = make([]byte, 32)
		var got bytes.Buffer
		if err := b.ReadObject(t.Context(), o, 0, o.Size, &got); !errors.Is(err, bus.ErrBroken) || int64(got.Len()) >= o.Size {
			t.Errorf("read %d bytes of %d, error %v", got.Len(), o.Size, err)
		}
	})
}

// TestReplacedWhileRead reads an object while others replace and delete it: what
// is read is one of the contents, whole, or the read fails.
func TestReplacedWhileRead(t *testing.T) {
	b, _, stream := files(t)
	sizes := []int{3 * piece, 5*piece + 1, 7*piece + 2}
	upload(t, b, "a", random(sizes[0]))
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if n%7 == 6 {
					if err := b.DeleteObject(t.Context(), ref("a"), bus.Write{}); err != nil {
						t.Error(err)
					}
				}
				upload(t, b, "a", random(sizes[(n+i)%3]))
			}
		})
	}
	whole, broken := 0, 0
	for end := time.Now().Add(20 * time.Second); (whole < 5 || broken < 5) && time.Now().Before(end); {
		o, err := b.Object(t.Context(), ref("a"))
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		content := random(int(o.Size))
		var got bytes.Buffer
		slow := io.Writer(&got)
		if (whole+broken)%2 == 0 { // so that it is replaced meanwhile
			slow = writerFunc(func(p []byte) (int, error) { time.Sleep(5 * time.Millisecond); return got.Write(p) })
		}
		err = b.ReadObject(t.Context(), o, 0, o.Size, slow)
		switch {
		case err == nil && bytes.Equal(got.Bytes(), content):
			whole++
		case errors.Is(err, bus.ErrBroken) && got.Len() < len(content) && bytes.HasPrefix(content, got.Bytes()):
			broken++
		default:
			t.Fatalf("read %d bytes of %d, error %v", got.Len(), len(content), err)
		}
	}
	stop()
	writers.Wait()
	if whole == 0 || broken == 0 {
		t.Errorf("%d reads were whole and %d broken: the test says too little", whole, broken)
	}
	if left := contents(t, stream); len(left) != 1 {
		t.Errorf("there are the contents %v, want one", left)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestObjectIsStreamed checks how much of an object is held: what was read of an
// upload and is not stored yet, and what came from NATS and is not passed on.
func TestObjectIsStreamed(t *testing.T) {
	const size, ahead = 40 * piece, 10 * piece
	s := natstest.Server(t)
	nc, err := s.Connect("counted")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b, err := bus.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	layOutFiles(t, b)
	stream, err := raw(t, s).Stream(t.Context(), names.StoreStream(shop, "files"))
	if err != nil {
		t.Fatal(err)
	}
	read, most := 0, 0
	content := random(size)
	body := readerFunc(func(p []byte) (int, error) {
		info, err := stream.Info(t.Context())
		if err != nil {
			return 0, err
		}
		most = max(most, read-int(info.State.Msgs)*piece)
		n := copy(p, content[read:])
		if read += n; n == 0 {
			return 0, io.EOF
		}
		return n, nil
	})
	o, err := b.PutObject(t.Context(), ref("a"), bus.Upload{Body: body}, bus.Write{})
	if err != nil || most > ahead {
		t.Errorf("%d bytes were held of an upload of %d, want at most %d; error %v", most, size, ahead, err)
	}
	begin, written := nc.Stats().InBytes, 0
	most = 0
	err = b.ReadObject(t.Context(), o, 0, o.Size, writerFunc(func(p []byte) (int, error) {
		most = max(most, int(nc.Stats().InBytes-begin)-written)
		written += len(p)
		return len(p), nil
	}))
	if err != nil || written != size || most > 2*piece {
		t.Errorf("%d bytes were held of a download of %d, want at most %d; error %v", most, size, 2*piece, err)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestListObjects(t *testing.T) {
	b, _, _ := files(t)
	for i := range 25 {
		upload(t, b, fmt.Sprintf("a/%02d", i), random(i))
	}
	for _, name := range []string{"a/03", "a/24"} {
		if err := b.DeleteObject(t.Context(), ref(name), bus.Write{}); err != nil {
			t.Fatal(err)
		}
	}
	upload(t, b, "a", nil)
	upload(t, b, "b/01", random(1))
	upload(t, b, "a/00", random(99)) // again
	var got []string
	for after, pages := uint64(0), 0; ; pages++ {
		objects, next, err := b.Objects(t.Context(), shop, "files", "a/", 10, after)
		if err != nil || pages > 3 {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, o := range objects {
			got = append(got, fmt.Sprint(o.Name, " ", o.Size))
		}
		if after = next; next == 0 {
			break
		}
	}
	slices.Sort(got)
	want := []string{"a/00 99"}
	for i := 1; i < 24; i++ {
		if i != 3 {
			want = append(want, fmt.Sprintf("a/%02d %d", i, i))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSweepObjects has uploads whose process ended: their chunks go when they are
// old, and no others.
func TestSweepObjects(t *testing.T) {
	b, js, _, stream := filesAndNATS(t)
	content := random(2 * piece)
	o := upload(t, b, "a", content)
	for _, subject := range []string{names.ObjectChunks(shop, "files", "LEFT1"), names.ObjectChunks(shop, "files", "LEFT2")} {
		for range 3 {
			if _, err := js.Publish(t.Context(), subject, content[:100]); err != nil {
				t.Fatal(err)
			}
		}
	}
	layout, now := bus.Layout{Bus: b}, time.Now()
	for _, step := range []struct {
		namespace   string
		at          time.Time
		swept, left int
	}{{shop, now.Add(50 * time.Minute), 0, 3}, {"other", now.Add(2 * time.Hour), 0, 3}, {shop, now.Add(2 * time.Hour), 2, 1}, {shop, now.Add(3 * time.Hour), 0, 1}} {
		n, err := layout.SweepObjects(t.Context(), step.namespace, step.at)
		if left := len(contents(t, stream)); err != nil || n != step.swept || left != step.left {
			t.Errorf("%s, %s later: %d swept and %d left, want %d and %d; error %v", step.namespace, step.at.Sub(now), n, left, step.swept, step.left, err)
		}
	}
	wantPart(t, b, o, 0, o.Size, content)
}
