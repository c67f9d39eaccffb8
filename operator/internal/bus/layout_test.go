package bus_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/natstest"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

func TestStreams(t *testing.T) {
	s := natstest.Server(t)
	layOut(t, natstest.Connect(t, s), onCall("redeem"), onEvent("welcome", "a.b"))
	js := raw(t, s)
	tests := map[string]jetstream.StreamConfig{
		"EV_shop": {
			Subjects: []string{"ev.shop.>", "evchange.shop.>", "evretry.shop.>"}, MaxAge: 7 * 24 * time.Hour, AllowAtomicPublish: true,
		},
		"RETRY_shop": {
			Subjects: []string{"evdue.shop.>", "evsched.shop.>"}, Retention: jetstream.WorkQueuePolicy, AllowMsgSchedules: true,
		},
		"WORK_shop": {
			Subjects: []string{"work.shop.>", "worksched.shop.>"}, Retention: jetstream.WorkQueuePolicy, AllowMsgSchedules: true,
		},
		"DEAD_shop":      {Subjects: []string{"dead.shop.>"}},
		"RES_shop":       {Subjects: []string{"res.shop.>", "idem.shop.>", "claim.shop.>"}, MaxAge: 24 * time.Hour, MaxMsgsPerSubject: 1},
		"KV_shop_things": {Subjects: []string{"$KV.shop_things.>"}, MaxMsgsPerSubject: 1, AllowMsgTTL: true, DenyDelete: true},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			stream, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			got := stream.CachedInfo().Config
			if !slices.Equal(got.Subjects, want.Subjects) {
				t.Errorf("subjects %v, want %v", got.Subjects, want.Subjects)
			}
			if got.MaxAge != want.MaxAge || got.Retention != want.Retention {
				t.Errorf("kept for %v by %v, want %v by %v", got.MaxAge, got.Retention, want.MaxAge, want.Retention)
			}
			if got.AllowMsgSchedules != want.AllowMsgSchedules || got.AllowAtomicPublish != want.AllowAtomicPublish ||
				got.AllowMsgTTL != want.AllowMsgTTL || got.DenyDelete != want.DenyDelete {
				t.Errorf("allows %+v", got)
			}
			if want.MaxMsgsPerSubject == 0 {
				want.MaxMsgsPerSubject = -1
			}
			if got.MaxMsgs != -1 || got.MaxBytes != -1 || got.MaxMsgSize != -1 || got.MaxMsgsPerSubject != want.MaxMsgsPerSubject {
				t.Errorf("a limit that drops: %+v", got)
			}
			if got.Storage != jetstream.FileStorage || got.Discard != jetstream.DiscardOld || got.Duplicates != time.Minute {
				t.Errorf("storage %v, discard %v, duplicate window %v", got.Storage, got.Discard, got.Duplicates)
			}
		})
	}
	if n := countStreams(t, js); n != len(tests) {
		t.Errorf("%d streams, want %d", n, len(tests))
	}
}

func TestConsumers(t *testing.T) {
	s := natstest.Server(t)
	limited := onCall("redeem")
	five := int32(5)
	limited.Delivery = &v1alpha1.Delivery{Concurrency: &five}
	layOut(t, natstest.Connect(t, s), limited, onEvent("welcome", "a.b", "c.*"))
	js := raw(t, s)
	tests := map[string]struct {
		stream, name string
		filters      []string
		concurrency  int
		from         jetstream.DeliverPolicy
	}{
		"event":   {"EV_shop", "offers_welcome", []string{"ev.shop.a.b", "ev.shop.c.>", "evretry.shop.offers.welcome"}, 200, jetstream.DeliverNewPolicy},
		"call":    {"WORK_shop", "offers_redeem", []string{"work.shop.call.offers.redeem.*"}, 5, jetstream.DeliverAllPolicy},
		"retries": {"RETRY_shop", "retries", []string{"evdue.shop.>"}, 16, jetstream.DeliverAllPolicy},
		"mail":    {"WORK_shop", "mail", []string{"work.shop.mail.>"}, 8, jetstream.DeliverAllPolicy},
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := js.Consumer(t.Context(), want.stream, want.name)
			if err != nil {
				t.Fatal(err)
			}
			got := c.CachedInfo().Config
			filters := slices.Sorted(slices.Values(got.FilterSubjects))
			if got.FilterSubject != "" {
				filters = []string{got.FilterSubject}
			}
			slices.Sort(want.filters)
			if got.Durable != want.name || !slices.Equal(filters, want.filters) {
				t.Errorf("durable %q of %v, want %v", got.Durable, filters, want.filters)
			}
			if got.MaxAckPending != want.concurrency || got.DeliverPolicy != want.from {
				t.Errorf("concurrency %d from %v, want %d from %v", got.MaxAckPending, got.DeliverPolicy, want.concurrency, want.from)
			}
			if got.AckPolicy != jetstream.AckExplicitPolicy || got.AckWait != bus.AckWait || got.MaxDeliver != -1 || len(got.BackOff) != 0 {
				t.Errorf("settled by %+v", got)
			}
		})
	}
}

func TestApplyTwiceChangesNothing(t *testing.T) {
	s := natstest.Server(t)
	b, js := natstest.Connect(t, s), raw(t, s)
	triggers := []v1alpha1.Trigger{onCall("redeem"), onEvent("welcome", "a.b")}
	layOut(t, b, triggers...)
	store(t, b, call("1", "a call"))
	publish(t, b, newEvent("a.b", "1"))
	before := everything(t, js)
	layOut(t, b, triggers...)
	if after := everything(t, js); !reflect.DeepEqual(before, after) {
		t.Errorf("before:\n%+v\nafter:\n%+v", before, after)
	}
}

// everything is the state of all streams and consumers.
func everything(t *testing.T, js jetstream.JetStream) map[string]any {
	t.Helper()
	out := map[string]any{}
	streams := js.ListStreams(t.Context())
	for s := range streams.Info() {
		s.TimeStamp = time.Time{}
		out[s.Config.Name] = *s
		stream, err := js.Stream(t.Context(), s.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := stream.ListConsumers(t.Context())
		for c := range consumers.Info() {
			if c.Config.Durable != "" {
				c.TimeStamp = time.Time{}
				out[s.Config.Name+"/"+c.Name] = *c
			}
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func countStreams(t *testing.T, js jetstream.JetStream) (n int) {
	t.Helper()
	for range js.StreamNames(t.Context()).Name() {
		n++
	}
	return n
}

func TestNewTriggerStartsNow(t *testing.T) {
	b := start(t, onEvent("first", "a.b"))
	publish(t, b, newEvent("a.b", "before"))
	layOut(t, b, onEvent("first", "a.b"), onEvent("second", "a.b"))
	publish(t, b, newEvent("a.b", "after"))
	if got := receiveAndAck(t, b, "EV_shop", "offers_second", 1); got[0] != "data of after" {
		t.Errorf("a new trigger got %q first", got[0])
	}
	if got := receiveAndAck(t, b, "EV_shop", "offers_first", 2); got[0] != "data of before" {
		t.Errorf("the old trigger got %q first", got[0])
	}
}

func TestNewCallTriggerGetsWhatWaits(t *testing.T) {
	b := start(t)
	store(t, b, call("1", "waits"))
	layOut(t, b, onCall("redeem"))
	receiveAndAck(t, b, "WORK_shop", "offers_redeem", 1)
}

func TestChangedTriggerGoesOnWhereItWas(t *testing.T) {
	s := natstest.Server(t)
	b := natstest.Connect(t, s)
	layOut(t, b, onEvent("welcome", "a.one"))
	publish(t, b, newEvent("a.one", "1"), newEvent("a.two", "2"), newEvent("a.one", "3"))
	receiveAndAck(t, b, "EV_shop", "offers_welcome", 2)

	changed := onEvent("welcome", "a.*")
	seven := int32(7)
	changed.Delivery = &v1alpha1.Delivery{Concurrency: &seven}
	layOut(t, b, changed)
	publish(t, b, newEvent("a.one", "4"), newEvent("a.two", "5"))
	want := []string{"data of 4", "data of 5"}
	if got := receiveAndAck(t, b, "EV_shop", "offers_welcome", 2); !slices.Equal(got, want) {
		t.Errorf("after the change it got %q, want %q", got, want)
	}
	c, err := raw(t, s).Consumer(t.Context(), "EV_shop", "offers_welcome")
	if err != nil {
		t.Fatal(err)
	}
	if info := c.CachedInfo(); info.NumPending != 0 || info.Config.MaxAckPending != 7 {
		t.Errorf("%d pending, concurrency %d; want 0 and 7", info.NumPending, info.Config.MaxAckPending)
	}
}

func TestNamespaces(t *testing.T) {
	b := start(t)
	other := function()
	other.Namespace = "other"
	if err := (bus.Layout{Bus: b}).Apply(t.Context(), wiring.Compile([]v1alpha1.Function{other}, wiring.Hosts{})); err != nil {
		t.Fatal(err)
	}
	got, err := b.Namespaces(t.Context())
	if slices.Sort(got); err != nil || !slices.Equal(got, []string{"other", "shop"}) {
		t.Errorf("namespaces %q, %v", got, err)
	}
}
