package controller

import (
	"maps"
	"testing"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// TestSeen checks that there are as many counts as triggers, whatever was left by
// those that are gone.
func TestSeen(t *testing.T) {
	offers := names.Function{Namespace: "coop", Name: "offers"}
	f := v1alpha1.Function{}
	f.Namespace, f.Name = offers.Namespace, offers.Name
	f.Spec.Triggers = []v1alpha1.Trigger{{Name: "welcome", Event: &v1alpha1.EventSource{Types: []string{"member.joined"}}}}
	wired := wiring.Compile([]v1alpha1.Function{f}, wiring.Hosts{Any: true})
	key := func(f names.Function, trigger string) bus.DeadKey { return bus.DeadKey{Function: f, Trigger: trigger} }
	gone := names.Function{Namespace: "coop", Name: "gone"}

	s := newSeen(wired)
	s.add(wired, "coop", &bus.Survey{
		Triggers: map[string]bus.TriggerState{
			"a": {Function: offers, Trigger: "welcome", Pending: 2}, "b": {Function: offers, Trigger: "old", Pending: 3}, "c": {Function: gone, Trigger: "welcome", Pending: 4},
		},
		Dead: map[bus.DeadKey]int64{key(offers, "welcome"): 1, key(offers, names.MailTrigger): 2, key(offers, "old"): 4, key(gone, "welcome"): 8, key(gone, names.MailTrigger): 16},
	})
	s.add(wired, "empty", &bus.Survey{})
	if want := map[bus.DeadKey]int64{key(offers, "welcome"): 2}; !maps.Equal(s.Pending, want) {
		t.Errorf("pending %v, want %v", s.Pending, want)
	}
	want := map[bus.DeadKey]int64{key(offers, "welcome"): 1, key(offers, names.MailTrigger): 2, key(names.Function{Namespace: "coop"}, ""): 28}
	if !maps.Equal(s.Dead, want) {
		t.Errorf("dead %v, want %v", s.Dead, want)
	}
}
