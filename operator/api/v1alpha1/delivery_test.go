package v1alpha1_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	knative "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/feature"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

// TestDeliveryIsKnatives converts the shared fields both ways through JSON, with
// no field unknown to the other side: a DeliverySpec can be pasted.
func TestDeliveryIsKnatives(t *testing.T) {
	ours := v1alpha1.Delivery{
		Retry:         new(int32(4)),
		BackoffPolicy: new(v1alpha1.BackoffExponential),
		BackoffDelay:  new("PT1S"),
		Timeout:       new("PT1M30S"),
		RetryAfterMax: new("PT0S"),
	}
	theirs := knative.DeliverySpec{
		Retry:         new(int32(4)),
		BackoffPolicy: new(knative.BackoffPolicyExponential),
		BackoffDelay:  new("PT1S"),
		Timeout:       new("PT1M30S"),
		RetryAfterMax: new("PT0S"),
	}
	if got := convert[knative.DeliverySpec](t, ours); !reflect.DeepEqual(got, theirs) {
		t.Errorf("to Knative: got %+v, want %+v", got, theirs)
	}
	if got := convert[v1alpha1.Delivery](t, theirs); !reflect.DeepEqual(got, ours) {
		t.Errorf("from Knative: got %+v, want %+v", got, ours)
	}
	ctx := feature.ToContext(t.Context(), feature.Flags{
		feature.DeliveryTimeout:    feature.Enabled,
		feature.DeliveryRetryAfter: feature.Enabled,
	})
	if err := theirs.Validate(ctx); err != nil {
		t.Errorf("Knative refuses it: %v", err)
	}
}

func TestBackoffPoliciesAreKnatives(t *testing.T) {
	for ours, theirs := range map[v1alpha1.BackoffPolicy]knative.BackoffPolicyType{
		v1alpha1.BackoffLinear:      knative.BackoffPolicyLinear,
		v1alpha1.BackoffExponential: knative.BackoffPolicyExponential,
	} {
		if string(ours) != string(theirs) {
			t.Errorf("%s is %s in Knative", ours, theirs)
		}
	}
}

func convert[To any](t *testing.T, from any) To {
	t.Helper()
	data, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var to To
	if err := decoder.Decode(&to); err != nil {
		t.Fatal(err)
	}
	return to
}
