package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
)

func onKeys(name, keys string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, KeyValue: &v1alpha1.KeyValueSource{Bucket: "things", Keys: keys}}
}

func onObjects(name string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Object: &v1alpha1.ObjectSource{Store: "files"}}
}

// relay tells the next n changes that a relay is handed.
func relay(t *testing.T, b *bus.Bus, stream string, n int) {
	t.Helper()
	done := make(chan error, n+100)
	stop, err := b.Consume(t.Context(), stream, names.ChangesConsumer, 100, func(d *bus.Delivered) {
		err := b.TellChange(t.Context(), &d.Message)
		_ = d.Ack()
		done <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for i := range n {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%d changes of %s after 2 min, want %d", i, stream, n)
		}
	}
}

// data is what the event of a change holds.
type data struct {
	Bucket, Key, Store, Name   string
	Revision, PreviousRevision uint64
	Value                      json.RawMessage
	ValueBase64                *[]byte
	Size                       *int64
	ContentType, Digest        string
}

// changes are the events of changes in the log, oldest first.
func changes(t *testing.T, b *bus.Bus) (events []*event.Event, out []data) {
	t.Helper()
	for _, m := range stored(t, b, names.Events(shop), "evchange."+shop+".>") {
		e := event.FromStored(m.Header, m.Body)
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", m.Subject, err)
		}
		if _, err := m.Progress(); err != nil {
			t.Errorf("%s: %v", m.Subject, err)
		}
		validate(t, e)
		var d data
		if err := json.Unmarshal(m.Body, &d); err != nil {
			t.Fatalf("%s: %v", m.Body, err)
		}
		if e.ID() != fmt.Sprint(d.Revision) {
			t.Errorf("the event of revision %d has the id %s", d.Revision, e.ID())
		}
		events, out = append(events, e), append(out, d)
	}
	return events, out
}

// validate checks the data of an event against the schema that it names.
func validate(t *testing.T, e *event.Event) {
	t.Helper()
	name := e.Type() + ".json"
	if got := e.Get("dataschema"); got != "https://serviceful.dev/schemas/"+name {
		t.Errorf("the schema of %s is %q", e.Type(), got)
	}
	schema, err := jsonschema.NewCompiler().Compile("../../../docs/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Data))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(data); err != nil {
		t.Errorf("%.500s: %.2000v", e.Data, err)
	}
}

// whats are what happened, and the subjects.
func whats(events []*event.Event) (out []string) {
	for _, e := range events {
		words := strings.Split(e.Type(), ".")
		out = append(out, words[len(words)-2]+" "+e.Get("subject"))
	}
	return out
}

func TestKeyChanges(t *testing.T) {
	b := start(t, onKeys("all", ""))
	s := things{t, b}
	s.mustPut("a.b", "{\"n\": 1, \"t\": \"<&>\"}", bus.Write{Hops: 3}, 0)
	relay(t, b, "KV_shop_things", 1)
	s.mustPut("a.b", "text", bus.Write{}, 0)
	relay(t, b, "KV_shop_things", 1)
	s.mustPut("c", "", bus.Write{}, time.Second)
	relay(t, b, "KV_shop_things", 1)
	s.mustDelete("a.b")
	relay(t, b, "KV_shop_things", 1)
	s.mustDelete("a.b") // nothing changes
	s.expires("c")
	relay(t, b, "KV_shop_things", 1)
	events, got := changes(t, b)
	if want := []string{"put a.b", "put a.b", "put c", "delete a.b", "expire c"}; !slices.Equal(whats(events), want) {
		t.Fatalf("%q, want %q", whats(events), want)
	}
	for i, before := range []int{-1, 0, -1, 1, 2} {
		want := uint64(0)
		if before >= 0 {
			want = got[before].Revision
		}
		if d := got[i]; d.PreviousRevision != want || d.Revision <= want || d.Bucket != "things" || events[i].Source() != "/buckets/things" {
			t.Errorf("%d: %+v, want the previous revision %d", i, d, want)
		}
	}
	if v := string(got[0].Value); v != `{"n":1,"t":"<&>"}` || got[0].ValueBase64 != nil {
		t.Errorf("JSON came as %s", v)
	}
	if d := got[1]; d.Value != nil || d.ValueBase64 == nil || string(*d.ValueBase64) != "text" {
		t.Errorf("text came as %+v", d)
	}
	if d := got[2]; d.Value != nil || d.ValueBase64 == nil || len(*d.ValueBase64) != 0 {
		t.Errorf("nothing came as %+v", d)
	}
	for _, i := range []int{3, 4} {
		if d := got[i]; d.Value != nil || d.ValueBase64 != nil {
			t.Errorf("what is gone came as %+v", d)
		}
	}
	first := stored(t, b, names.Events(shop), names.KeyChanges(shop, "things", "a.b"))[0]
	if first.Header.Get(event.HeaderHops) != "3" {
		t.Errorf("its hops are %q", first.Header.Get(event.HeaderHops))
	}
}

func TestObjectChanges(t *testing.T) {
	b := start(t, onObjects("all"))
	name := "Bilder/Straße 100%.csv"
	ref := bus.ObjectRef{Namespace: shop, Store: "files", Name: name}
	put := func(content string) bus.Object {
		o, err := b.PutObject(t.Context(), ref, bus.Upload{ContentType: "text/csv", Body: strings.NewReader(content)}, bus.Write{Hops: 2})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := put(strings.Repeat("x", 300_000)) // in three chunks
	relay(t, b, "OBJ_shop_files", 1)
	put("again")
	relay(t, b, "OBJ_shop_files", 1)
	if err := b.DeleteObject(t.Context(), ref, bus.Write{}); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteObject(t.Context(), ref, bus.Write{}); err != nil { // nothing changes
		t.Fatal(err)
	}
	relay(t, b, "OBJ_shop_files", 1)
	if _, err := (bus.Layout{Bus: b}).SweepObjects(t.Context(), shop, time.Now().Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	put("anew")
	relay(t, b, "OBJ_shop_files", 1)
	events, got := changes(t, b)
	if want := []string{"put", "put", "delete", "put"}; len(events) != len(want) {
		t.Fatalf("%q, want %q", whats(events), want)
	}
	for i, e := range events {
		if event.Decode(e.Get("subject")) != name || e.Source() != "/stores/files" || got[i].Name != name || got[i].Store != "files" {
			t.Errorf("%+v of %+v", got[i], e)
		}
		if i > 0 && got[i].PreviousRevision != got[i-1].Revision {
			t.Errorf("%d: the previous revision is %d", i, got[i].PreviousRevision)
		}
	}
	d := got[0]
	if d.Revision != first.Revision || d.Size == nil || *d.Size != 300_000 || d.ContentType != "text/csv" || d.Digest != bus.ReprDigest(first.Digest) || d.PreviousRevision != 0 {
		t.Errorf("put: %+v", d)
	}
	if d := got[2]; events[2].Type() != bus.TypeObjectDelete || d.Size != nil || d.Digest != "" || d.ContentType != "" {
		t.Errorf("delete: %+v", d)
	}
	if m := stored(t, b, names.Events(shop), names.ObjectChange(shop, "files", name))[0]; m.Header.Get(event.HeaderHops) != "2" {
		t.Errorf("its hops are %q", m.Header.Get(event.HeaderHops))
	}
}

// The largest values of every kind fit.
func TestLargeValues(t *testing.T) {
	b := start(t, onKeys("all", ""))
	s := things{t, b}
	for key, value := range map[string]string{
		"json":   `"` + strings.Repeat("<", bus.MaxValue-2) + `"`,
		"text":   strings.Repeat("x", bus.MaxValue),
		"binary": strings.Repeat("\xff", bus.MaxValue),
		"broken": `"` + strings.Repeat("\xff", bus.MaxValue-2) + `"`, // JSON but for its bytes
	} {
		s.mustPut(key, value, bus.Write{}, 0)
		relay(t, b, "KV_shop_things", 1)
		_, got := changes(t, b)
		d := got[len(got)-1]
		if d.Key != key || (d.Value != nil) != (key == "json") || d.Value == nil && string(*d.ValueBase64) != value {
			t.Errorf("%s came as %d bytes of JSON", key, len(d.Value))
		}
	}
}

// What only other tools store: a value of which the event would be too large, and
// what is no key's or object's.
func TestChangesOfOtherTools(t *testing.T) {
	server := natstest.Server(t)
	b := natstest.Connect(t, server)
	layOut(t, b, onKeys("keys", ""), onObjects("objects"))
	js := raw(t, server)
	large := &nats.Msg{Subject: names.Key(shop, "things", "large"), Data: []byte(strings.Repeat("\xff", 7<<20))}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // seven megabytes take a busy machine longer than the client's own
	defer cancel()
	if _, err := js.PublishMsg(ctx, large); err != nil {
		t.Fatal(err)
	}
	relay(t, b, "KV_shop_things", 1)
	_, got := changes(t, b)
	if len(got) != 1 || got[0].Value != nil || got[0].ValueBase64 != nil || got[0].Key != "large" {
		t.Errorf("a large value came as %+v", got)
	}
	for _, m := range []*nats.Msg{
		{Subject: names.ObjectInfo(shop, "files", "broken"), Data: []byte("no JSON")},
		{Subject: names.ObjectInfo(shop, "files", "link"), Data: []byte(`{"name":"link","options":{"link":{"bucket":"x","name":"y"}}}`)},
	} {
		if _, err := js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	relay(t, b, "OBJ_shop_files", 2)
	events, _ := changes(t, b)
	if len(events) != 2 || events[1].Type() != bus.TypeObjectDelete {
		t.Errorf("told %q", whats(events))
	}
}

// What is told twice, or after what came later, is told once, however long after
// and by whomever.
func TestTellingAgain(t *testing.T) {
	b := start(t, onKeys("all", ""))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	change := func(revision uint64, after time.Duration) *envelope.Message {
		return &envelope.Message{Subject: names.Key(shop, "things", "a"), Header: envelope.Header{}, Body: []byte("1"), Sequence: revision, Stored: at.Add(after)}
	}
	for _, step := range []struct {
		revision uint64
		after    time.Duration
		told     int
	}{
		{5, 0, 1},
		{5, 0, 1},
		{7, time.Second, 2},
		{5, 0, 2},
		{9, 0, 3},           // the server's clock went back
		{2, time.Minute, 4}, // the bucket was removed and made anew
		{2, time.Minute, 4},
		{7, time.Second, 5}, // its revisions have nothing to do with those before
	} {
		if err := b.TellChange(t.Context(), change(step.revision, step.after)); err != nil {
			t.Fatal(err)
		}
		_, got := changes(t, b)
		if len(got) != step.told {
			t.Fatalf("after revision %d: %d changes, want %d", step.revision, len(got), step.told)
		}
	}
	_, got := changes(t, b)
	var previous []uint64
	for _, d := range got {
		previous = append(previous, d.PreviousRevision)
	}
	if !slices.Equal(previous, []uint64{0, 5, 7, 0, 2}) {
		t.Errorf("the previous revisions are %d", previous)
	}
}

// A bucket is there and watched with the first trigger, and no more when the last
// one has gone. What changes in between is told.
func TestWatching(t *testing.T) {
	b := natstest.Connect(t, natstest.Server(t))
	unwatched := layOut(t, b)
	s := things{t, b}
	s.mustPut("before", "1", bus.Write{}, 0)
	wired := layOut(t, b, onKeys("a", "x.>"), onObjects("b"))
	s.mustPut("x.y", "1", bus.Write{}, 0)
	layOut(t, b, onKeys("a", "x.>"), onKeys("c", "")) // changes nothing of what is watched
	relay(t, b, "KV_shop_things", 1)
	events, _ := changes(t, b)
	if want := []string{"put x.y"}; !slices.Equal(whats(events), want) {
		t.Errorf("told %q, want %q", whats(events), want)
	}
	l := bus.Layout{Bus: b}
	survey, err := l.Survey(t.Context(), shop, wired, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"KV_shop_things/changes", "OBJ_shop_files/changes", "EV_shop/offers_a", "EV_shop/offers_b"} {
		if _, ok := survey.Triggers[key]; !ok {
			t.Errorf("the survey has not found %s", key)
		}
	}
	if pending := survey.Triggers["EV_shop/offers_a"].Pending; pending != 1 {
		t.Errorf("%d changes wait for a, want 1", pending)
	}
	if orphans, err := l.Orphans(t.Context(), shop, layOut(t, b, onKeys("a", "x.>"), onObjects("b"), onKeys("c", ""))); err != nil || len(orphans) > 0 {
		t.Errorf("orphans %+v, %v", orphans, err)
	}
	orphans, err := l.Orphans(t.Context(), shop, unwatched)
	if err != nil {
		t.Fatal(err)
	}
	relays := 0
	for _, o := range orphans {
		if o.Function.Name == "" {
			relays++
		}
		if _, err := l.Retire(t.Context(), o, time.Now()); err != nil {
			t.Error(err)
		}
	}
	if relays != 2 || len(orphans) != 5 {
		t.Errorf("orphans %+v", orphans)
	}
	if orphans, err := l.Orphans(t.Context(), shop, unwatched); err != nil || len(orphans) > 0 {
		t.Errorf("afterwards %+v, %v", orphans, err)
	}
	s.want("x.y", "1")
}
