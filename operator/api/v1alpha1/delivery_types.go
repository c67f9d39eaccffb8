package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BackoffPolicy says how the delay between two calls grows.
//
// +kubebuilder:validation:Enum=linear;exponential
type BackoffPolicy string

const (
	// BackoffLinear multiplies backoffDelay by the number of calls made.
	BackoffLinear BackoffPolicy = "linear"
	// BackoffExponential doubles the delay with every call.
	BackoffExponential BackoffPolicy = "exponential"
)

// What startFrom may be beside a time.
const (
	StartNew = "New"
	StartAll = "All"
)

// Delivery says how a trigger's calls are retried and bounded. retry,
// backoffPolicy, backoffDelay, timeout and retryAfterMax have the names and the
// meaning of Knative Eventing's DeliverySpec. Durations of those fields are ISO
// 8601; our own are Go durations.
//
// +kubebuilder:validation:XValidation:rule="!has(self.batch) || !has(self.batch.window) || !has(self.maxAge) || duration(self.batch.window) < duration(self.maxAge)",message="an event would be dead (maxAge) before its batch is called: make batch.window shorter than maxAge",fieldPath=".batch.window"
type Delivery struct {
	// Retry is the number of further calls after the first; 0 to 10000.
	// +optional
	// +kubebuilder:default=4
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Retry *int32 `json:"retry,omitempty"`
	// BackoffPolicy says how the delay between two calls grows. Delays have full
	// jitter and are capped at 5 minutes.
	// +optional
	// +kubebuilder:default=exponential
	BackoffPolicy *BackoffPolicy `json:"backoffPolicy,omitempty"`
	// BackoffDelay is the delay that the policy starts from; from PT0.25S to PT5M.
	// +optional
	// +kubebuilder:default=PT1S
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^PT([0-9]{1,6}H)?([0-9]{1,6}M)?([0-9]{1,6}([.][0-9]{1,9})?S)?$") && self != "PT" && duration(self.substring(2).lowerAscii()) >= duration("0.25s") && duration(self.substring(2).lowerAscii()) <= duration("5m")`,message="must be an ISO 8601 duration of hours, minutes and seconds from PT0.25S to PT5M, such as PT1S"
	BackoffDelay *string `json:"backoffDelay,omitempty"`
	// Timeout of one call, from PT0.1S to PT1H. Unset: spec.timeout.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^PT([0-9]{1,6}H)?([0-9]{1,6}M)?([0-9]{1,6}([.][0-9]{1,9})?S)?$") && self != "PT" && duration(self.substring(2).lowerAscii()) >= duration("0.1s") && duration(self.substring(2).lowerAscii()) <= duration("1h")`,message="must be an ISO 8601 duration of hours, minutes and seconds from PT0.1S to PT1H, such as PT30S"
	Timeout *string `json:"timeout,omitempty"`
	// RetryAfterMax is the longest Retry-After that is honoured, from PT0S
	// (never) to PT72H. Unset: 5 minutes.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^PT([0-9]{1,6}H)?([0-9]{1,6}M)?([0-9]{1,6}([.][0-9]{1,9})?S)?$") && self != "PT" && duration(self.substring(2).lowerAscii()) >= duration("0s") && duration(self.substring(2).lowerAscii()) <= duration("72h")`,message="must be an ISO 8601 duration of hours, minutes and seconds from PT0S to PT72H, such as PT5M"
	RetryAfterMax *string `json:"retryAfterMax,omitempty"`

	// MaxAge is how long a message may wait since it was due before it is dead
	// without another call; from 1s to 72h.
	// +optional
	// +kubebuilder:default="6h"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^([0-9]{1,6}([.][0-9]{1,9})?(ms|s|m|h))+$") && duration(self) >= duration("1s") && duration(self) <= duration("72h")`,message="must be a duration from 1s to 72h, such as 6h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
	// Concurrency is the number of calls in flight for this trigger over the
	// whole cluster; 1 to 1000000. Unset: scale.max x scale.concurrency, where 0
	// counts as 100.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Concurrency *int32 `json:"concurrency,omitempty"`
	// Batch puts several events into one call; not for http triggers. Unset: each
	// event has a call of its own.
	// +optional
	Batch *Batch `json:"batch,omitempty"`
	// OrderBy is a CloudEvents attribute, such as subject or partitionkey: events
	// with equal values are called one at a time, in the log's order, and one that
	// fails blocks its own value only. An event without the attribute is its own
	// value. Not for http and schedule triggers. Unset: no order.
	// +optional
	// +kubebuilder:validation:MaxLength=20
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]{1,20}$")`,message="must be the name of a CloudEvents attribute: 1 to 20 lower-case letters and digits, such as subject"
	OrderBy *string `json:"orderBy,omitempty"`
	// StartFrom is where a new trigger starts in the event log: with what comes from
	// now on (New), with all that the log has (All; it keeps 7 days, and the changes
	// of a bucket or store from when one of its triggers was first made), or with
	// what was stored at an RFC 3339 time or later. It is read when the trigger is
	// made, and cannot be changed. Unset: New.
	// +optional
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:XValidation:rule=`self in ["New", "All"] || self.matches(r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$")`,message="must be New, All or an RFC 3339 time such as 2026-01-31T12:00:00Z"
	StartFrom *string `json:"startFrom,omitempty"`
	// OnSuccess gets the outcome of every message that was done. Unset: nobody.
	// +optional
	OnSuccess *Destination `json:"onSuccess,omitempty"`
	// OnFailure gets the outcome of every message that is dead, and of every
	// asynchronous call that failed with a final answer. Dead letters are kept
	// all the same. Unset: nobody.
	// +optional
	OnFailure *Destination `json:"onFailure,omitempty"`
}

// Batch puts several events into one call, which is a POST of
// application/cloudevents-batch+json.
//
// +kubebuilder:validation:XValidation:rule="!has(self.window) || duration(self.window) == duration('0s') || has(self.size) && self.size > 1",message="a window is the wait for more events: set size to 2 or more, or remove window",fieldPath=".size"
type Batch struct {
	// Size is the largest number of events in one call; 1 to 1000. Unset: 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Size *int32 `json:"size,omitempty"`
	// Window is how long the first event of a call waits for others; 0s (it
	// waits for none that is not there yet) to 5m. Unset: 0s.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^([0-9]{1,6}([.][0-9]{1,9})?(ms|s|m|h))+$") && duration(self) >= duration("0s") && duration(self) <= duration("5m")`,message="must be a duration from 0s to 5m, such as 5s"
	Window *metav1.Duration `json:"window,omitempty"`
}

// Destination gets the outcome of messages: an event in the namespace's log, or
// a message of a queue. Exactly one field is set. It needs neither emits nor a
// binding: it is the platform that sends it.
//
// +kubebuilder:validation:ExactlyOneOf=eventType;queue
type Destination struct {
	// EventType is the type of the event that is published.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*$")`,message="must be an event type: dot-separated tokens of letters, digits, '_' and '-', such as offers.import.ended.v1"
	EventType string `json:"eventType,omitempty"`
	// Queue is the queue that gets the message.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Queue string `json:"queue,omitempty"`
}
