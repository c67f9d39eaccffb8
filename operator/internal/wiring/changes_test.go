package wiring

import (
	"slices"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/event"
)

func onKeys(name, bucket, keys string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Path: "/on/" + name, KeyValue: &v1alpha1.KeyValueSource{Bucket: bucket, Keys: keys}}
}

func onObjects(name, store, keys string) v1alpha1.Trigger {
	return v1alpha1.Trigger{Name: name, Object: &v1alpha1.ObjectSource{Store: store, Keys: keys}}
}

// TestChanges has one relay for each bucket and store that a trigger of the
// namespace names, however many name it, and triggers that hear the event log.
func TestChanges(t *testing.T) {
	all := onKeys("all", "offers", "")
	all.Delivery = &v1alpha1.Delivery{StartFrom: ptr(v1alpha1.StartAll)}
	paused := onObjects("paused", "files", "")
	paused.Paused = true
	s := Compile([]v1alpha1.Function{
		fn("coop/a", 1, all, onKeys("some", "offers", "allocation.>"), onObjects("csv", "files", "in/*.csv")),
		fn("coop/b", 2, onKeys("one", "offers", "a.*"), paused), fn("other/c", 3, onKeys("all", "offers", "")),
	}, laptop)
	if len(s.Problems) > 0 {
		t.Fatal(s.Problems)
	}
	want := map[string][]string{
		"EV_coop/a_all":           {"evchange.coop.key.offers.>", "evretry.coop.a.all"},
		"EV_coop/a_some":          {"evchange.coop.key.offers.allocation.>", "evretry.coop.a.some"},
		"EV_coop/a_csv":           {"evchange.coop.object.files.*", "evretry.coop.a.csv"},
		"EV_coop/b_one":           {"evchange.coop.key.offers.a.*", "evretry.coop.b.one"},
		"EV_coop/b_paused":        {"evchange.coop.object.files.*", "evretry.coop.b.paused"},
		"EV_other/c_all":          {"evchange.other.key.offers.>", "evretry.other.c.all"},
		"KV_coop_offers/changes":  {"$KV.coop_offers.>"},
		"KV_other_offers/changes": {"$KV.other_offers.>"},
		"OBJ_coop_files/changes":  {"$O.coop_files.M.*"},
		"RETRY_coop/retries":      {"evdue.coop.>"},
		"RETRY_other/retries":     {"evdue.other.>"},
	}
	got := map[string]*Subscription{}
	for _, sub := range s.Subscriptions {
		if sub.Policy.Source == delivery.Mail {
			continue
		}
		got[sub.Key()] = sub
		if !slices.Equal(sub.Filters, want[sub.Key()]) {
			t.Errorf("%s hears %q, want %q", sub.Key(), sub.Filters, want[sub.Key()])
		}
		if sub.Relays() != (sub.Function.Name == "") || sub.RelaysChanges() && (sub.Concurrency != 1 || sub.Policy.Source != delivery.Change) {
			t.Errorf("%s: %+v", sub.Key(), sub)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d subscriptions, want %d", len(got), len(want))
	}
	if sub := got["EV_coop/a_all"]; !sub.Start.All || sub.Path != "/on/all" || sub.Bucket != "offers" || sub.Match != nil {
		t.Errorf("a keyValue trigger: %+v", sub)
	}
	if sub := got["EV_coop/b_paused"]; !sub.Paused || sub.Path != "/" || sub.Store != "files" || sub.Match != nil {
		t.Errorf("an object trigger: %+v", sub)
	}
	if sub := got["KV_coop_offers/changes"]; sub.Trigger != "buckets/offers" || sub.Bucket != "offers" || sub.Function.Namespace != "coop" {
		t.Errorf("the relay of a bucket: %+v", sub)
	}
	if sub := got["OBJ_coop_files/changes"]; sub.Trigger != "stores/files" || sub.Store != "files" {
		t.Errorf("the relay of a store: %+v", sub)
	}
	csv := got["EV_coop/a_csv"].Match
	for name, want := range map[string]bool{"in/a.csv": true, "a.csv": false, "in/b/a.csv": false} {
		if got := csv(&event.Event{Attributes: []event.Attribute{{Name: "subject", Value: name}}}); got != want {
			t.Errorf("%q passes: %v", name, got)
		}
	}
}
