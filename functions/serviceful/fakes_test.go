package serviceful_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
)

func TestFakeStore(t *testing.T) {
	ctx := t.Context()
	services := servicefultest.New(t)
	store := services.Client(t).Store("files")
	if _, _, err := store.Get(ctx, "in/a.csv"); !errors.Is(err, serviceful.ErrNotFound) {
		t.Errorf("Get of nothing: %v, want ErrNotFound", err)
	}
	for _, name := range []string{"in/a.csv", "in/b c.csv", "in/d.csv", "out"} {
		if _, err := store.Put(ctx, name, "text/csv", strings.NewReader("of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	content, revision, err := store.Get(ctx, "in/b c.csv")
	if err != nil {
		t.Fatal(err)
	}
	read, err := io.ReadAll(content)
	if string(read) != "of in/b c.csv" || err != nil || revision == "" || content.Close() != nil {
		t.Errorf("Get: %q at %q, %v", read, revision, err)
	}
	var names []string
	for object, err := range store.List(ctx, "in/") {
		if err != nil || object.ContentType != "text/csv" || object.Size != int64(len("of "+object.Name)) || object.Modified.IsZero() {
			t.Fatalf("%+v, %v", object, err)
		}
		names = append(names, object.Name)
	}
	if !slices.Equal(names, []string{"in/a.csv", "in/b c.csv", "in/d.csv"}) {
		t.Errorf("listed %q", names)
	}
	for range 2 { // one that is gone is no error
		if err := store.Delete(ctx, "in/a.csv"); err != nil {
			t.Error(err)
		}
	}
	if got := slices.Sorted(maps.Keys(services.Store("files"))); !slices.Equal(got, []string{"in/b c.csv", "in/d.csv", "out"}) {
		t.Errorf("the store has %q", got)
	}
}

// What the client does not do, functions in other languages may.
func TestFakeStoreOnTheWire(t *testing.T) {
	services := servicefultest.New(t)
	if _, err := services.Client(t).Store("files").Put(t.Context(), "a", "", strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, header, value string
		status                int
	}{
		{"GET", "Range", "bytes=2-4", 206},
		{"GET", "Range", "bytes=20-", 416},
		{"GET", "Range", "bytes=1-2,4-5", 200},
		{"PUT", "If-Match", `"99"`, 412},
		{"PUT", "If-None-Match", "*", 412},
		{"PUT", "Repr-Digest", "sha-256=:AAAA:", 400},
		{"DELETE", "If-Match", `"99"`, 412},
	} {
		r, err := http.NewRequestWithContext(t.Context(), test.method, services.Config.URL+"/v1/stores/files/objects/a", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(test.header, test.value)
		r.Header.Set("Authorization", "Bearer token-of-the-function")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != test.status {
			t.Errorf("%+v: %d", test, resp.StatusCode)
		}
	}
	if got := services.Store("files")["a"]; got != "0123456789" {
		t.Errorf("it is %q now", got)
	}
}

func TestFakeQueue(t *testing.T) {
	services := servicefultest.New(t)
	client := services.Client(t)
	first := serviceful.Message{ContentType: "text/plain", Body: []byte("one"), Delay: time.Minute, IdempotencyKey: "k"}
	second := serviceful.Message{ContentType: "application/json", Body: []byte(`"two"`)}
	for _, m := range []serviceful.Message{first, first, second, second} {
		if err := client.Send(t.Context(), "resize", m); err != nil {
			t.Fatal(err)
		}
	}
	other := first
	other.Body = []byte("another")
	if err := client.Send(t.Context(), "resize", other); !errors.Is(err, serviceful.ErrKeyReused) {
		t.Errorf("a key for another message: %v", err)
	}
	other.Delay, other.IdempotencyKey = 9000*time.Hour, ""
	if err := client.Send(t.Context(), "resize", other); err == nil {
		t.Error("a delay of more than a year was taken")
	}
	got := services.Messages("resize")
	if len(got) != 3 || string(got[0].Body) != "one" || got[0].Delay != time.Minute || got[1].ContentType != "application/json" {
		t.Fatalf("the queue has %+v", got)
	}
	function := serviceful.Handle(func(w http.ResponseWriter, r *http.Request) error {
		var text string
		event, err := serviceful.ReadEvent(r, &text)
		if err != nil {
			return err
		}
		return serviceful.Answer(w, serviceful.Event{ID: event.ID + text, Source: event.Source, Type: event.Type})
	})
	answered := servicefultest.Answered(t, servicefultest.DeliverMessage(t, function, "/", "resize", "7", got[1]))
	if len(answered) != 1 || answered[0].ID != "7two" || answered[0].Source != "/queues/resize" || answered[0].Type != "dev.serviceful.queue.message.v1" {
		t.Errorf("answered %+v", answered)
	}
}

// A change says which revision the key or object has, as the services spell it.
func TestChanges(t *testing.T) {
	services := servicefultest.New(t)
	bucket := services.Client(t).Bucket("things")
	revision, err := bucket.Put(t.Context(), "a", "one")
	if err != nil {
		t.Fatal(err)
	}
	var change serviceful.KeyChange
	function := serviceful.Handle(func(_ http.ResponseWriter, r *http.Request) error {
		_, err := serviceful.ReadEvent(r, &change)
		return err
	})
	put := serviceful.KeyChange{Bucket: "things", Key: "a", Revision: 1, Value: json.RawMessage(`"one"`)}
	servicefultest.Deliver(t, function, "/", serviceful.Event{ID: "1", Source: "/buckets/things", Type: serviceful.KeyPut, Subject: "a", Data: put})
	if change.Is() != revision || string(change.Value) != `"one"` {
		t.Errorf("the change %+v is %s, want %s", change, change.Is(), revision)
	}
	if _, err := bucket.Update(t.Context(), "a", "two", change.Is()); err != nil {
		t.Error(err)
	}
	if is := (serviceful.ObjectChange{Revision: 7}).Is(); is != `"7"` {
		t.Errorf("an object's revision 7 is %s", is)
	}
}
