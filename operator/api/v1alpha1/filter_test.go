package v1alpha1_test

import (
	"reflect"
	"testing"

	knative "knative.dev/eventing/pkg/apis/eventing/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// TestFilterIsKnatives converts every dialect both ways through JSON.
func TestFilterIsKnatives(t *testing.T) {
	attributes := map[string]string{"source": "shop"}
	for name, c := range map[string]struct {
		ours   v1alpha1.Filter
		theirs knative.SubscriptionsAPIFilter
	}{
		"exact":  {v1alpha1.Filter{Exact: attributes}, knative.SubscriptionsAPIFilter{Exact: attributes}},
		"prefix": {v1alpha1.Filter{Prefix: attributes}, knative.SubscriptionsAPIFilter{Prefix: attributes}},
		"suffix": {v1alpha1.Filter{Suffix: attributes}, knative.SubscriptionsAPIFilter{Suffix: attributes}},
		"cesql":  {v1alpha1.Filter{CESQL: "TRUE"}, knative.SubscriptionsAPIFilter{CESQL: "TRUE"}},
		"all": {
			v1alpha1.Filter{All: []v1alpha1.LeafFilter{{Exact: attributes}, {CESQL: "TRUE"}}},
			knative.SubscriptionsAPIFilter{All: []knative.SubscriptionsAPIFilter{{Exact: attributes}, {CESQL: "TRUE"}}},
		},
		"any": {
			v1alpha1.Filter{Any: []v1alpha1.LeafFilter{{Prefix: attributes}}},
			knative.SubscriptionsAPIFilter{Any: []knative.SubscriptionsAPIFilter{{Prefix: attributes}}},
		},
		"not": {
			v1alpha1.Filter{Not: &v1alpha1.LeafFilter{Suffix: attributes}},
			knative.SubscriptionsAPIFilter{Not: &knative.SubscriptionsAPIFilter{Suffix: attributes}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := convert[knative.SubscriptionsAPIFilter](t, c.ours); !reflect.DeepEqual(got, c.theirs) {
				t.Errorf("to Knative: got %+v, want %+v", got, c.theirs)
			}
			if got := convert[v1alpha1.Filter](t, c.theirs); !reflect.DeepEqual(got, c.ours) {
				t.Errorf("from Knative: got %+v, want %+v", got, c.ours)
			}
		})
	}
}
