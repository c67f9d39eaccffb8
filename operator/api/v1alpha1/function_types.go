package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Function is one deployable function: a container that listens on $PORT, the
// triggers that call it, the event types it may emit and the services it may use.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=fn
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.status.address.url`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Image",type=string,JSONPath=`.status.image`,priority=1
// +kubebuilder:printcolumn:name="Pending",type=integer,JSONPath=`.status.pending`
// +kubebuilder:printcolumn:name="Dead",type=integer,JSONPath=`.status.dead`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule=`self.metadata.name.size() <= 50 && self.metadata.name.matches(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")`,message="metadata.name must be at most 50 lower-case letters, digits and '-', starting with a letter and ending with a letter or a digit"
type Function struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is what the team asks for.
	// +required
	Spec FunctionSpec `json:"spec"`
	// Status is what the platform reports.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status FunctionStatus `json:"status,omitempty"`
}

// FunctionList is a list of Functions.
//
// +kubebuilder:object:root=true
type FunctionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Function `json:"items"`
}

// FunctionSpec is what the team asks for.
//
// +kubebuilder:validation:XValidation:rule="!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))",message="every volumeMount must name one of spec.volumes",fieldPath=".volumeMounts"
type FunctionSpec struct {
	// Image is the container image. An image "ko://<import path>" is built from
	// Go source: by `serviceful dev` on a laptop, by ko before a deployment.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[^\s]+$")`,message="must be an image reference without spaces, such as ko://example.com/shop/functions/offers or registry.example.com/offers:v1"
	Image string `json:"image"`

	// Command replaces the image's entry point, as in a pod. Unset: the image's own.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=4096
	Command []string `json:"command,omitempty"`
	// Args replaces the image's arguments, as in a pod. Unset: the image's own.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MaxLength=4096
	Args []string `json:"args,omitempty"`
	// Env sets environment variables, as in a pod.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=100
	Env []EnvVar `json:"env,omitempty"`
	// EnvFrom sets environment variables from whole ConfigMaps and Secrets, as in a pod.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	EnvFrom []EnvFromSource `json:"envFrom,omitempty"`
	// Resources are the container's requests and limits, as in a pod. Unset: the cluster's defaults.
	// +optional
	Resources *ResourceRequirements `json:"resources,omitempty"`
	// Volumes are the files that the container may mount, as in a pod.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=20
	Volumes []Volume `json:"volumes,omitempty"`
	// VolumeMounts say where in the container the volumes appear, as in a pod.
	// +optional
	// +listType=map
	// +listMapKey=mountPath
	// +kubebuilder:validation:MaxItems=20
	VolumeMounts []VolumeMount `json:"volumeMounts,omitempty"`
	// ImagePullSecrets are the Secrets used to pull the image, as in a pod.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=10
	ImagePullSecrets []LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Timeout of one call, counted from the moment the function has a ready
	// instance; from 100ms to 1h.
	// +optional
	// +kubebuilder:default="30s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^([0-9]{1,6}([.][0-9]{1,9})?(ms|s|m|h))+$") && duration(self) >= duration("100ms") && duration(self) <= duration("1h")`,message="must be a duration from 100ms to 1h, such as 30s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Scale says how many instances there may be.
	// +optional
	// +kubebuilder:default={}
	Scale *Scale `json:"scale,omitempty"`

	// Emits are the event types that the function may publish; a last token "*"
	// stands for one or more tokens. Unset: none.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=200
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r"^([A-Za-z0-9_-]+[.])*([A-Za-z0-9_-]+|[*])$")`,message="must be an event type: dot-separated tokens of letters, digits, '_' and '-', such as offers.offer.redeemed.v1; only the last token may be *"
	Emits []string `json:"emits,omitempty"`
	// Bindings are the services that the function may use. Data is created on
	// first use and never deleted with the function. Unset: none.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.all(a, !has(a.keyValue) || self.exists_one(b, has(b.keyValue) && b.keyValue.bucket == a.keyValue.bucket))",message="a key-value bucket may be bound once only"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !has(a.objects) || self.exists_one(b, has(b.objects) && b.objects.store == a.objects.store))",message="an object store may be bound once only"
	Bindings []Binding `json:"bindings,omitempty"`
	// Triggers say what calls the function. Unset: nothing but a direct call.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=50
	Triggers []Trigger `json:"triggers,omitempty"`
}

// Scale says how many instances a function may have, and when they stop.
//
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min <= self.max",message="min must not be greater than max (default 20)",fieldPath=".min"
type Scale struct {
	// Min is the number of instances kept running without calls; 0 to 1000.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Min *int32 `json:"min,omitempty"`
	// Max is the largest number of instances; 1 to 1000.
	// +optional
	// +kubebuilder:default=20
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Max *int32 `json:"max,omitempty"`
	// Concurrency is how many calls one instance gets at once; 0 is no limit; at most 1000.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	Concurrency *int32 `json:"concurrency,omitempty"`
	// Idle is how long there must be no call before the last instances stop; from 6s to 1h.
	// +optional
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^([0-9]{1,6}([.][0-9]{1,9})?(ms|s|m|h))+$") && duration(self) >= duration("6s") && duration(self) <= duration("1h")`,message="must be a duration from 6s to 1h, such as 60s"
	Idle *metav1.Duration `json:"idle,omitempty"`
}

// FunctionStatus is what the platform reports.
type FunctionStatus struct {
	// Address is where the function can be called directly.
	// +optional
	Address *Address `json:"address,omitempty"`
	// Image is the image that runs, by digest.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image,omitempty"`
	// Triggers is the state of each trigger.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=50
	Triggers []TriggerStatus `json:"triggers,omitempty"`
	// Pending is the number of messages that wait, over all triggers.
	// +optional
	Pending int64 `json:"pending,omitempty"`
	// Dead is the number of dead letters: of all triggers, those removed among
	// them, and of the function's mail.
	// +optional
	Dead int64 `json:"dead,omitempty"`
	// Conditions are Ready, ServiceReady, TriggersReady and BindingsReady, and
	// Stalled while Ready is False.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=10
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// ObservedGeneration is the metadata.generation that this status is about; -1
	// until the operator has seen the Function.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
}

// Address is where the function can be called directly.
type Address struct {
	// URL is the Knative Service's cluster-local URL: a plain synchronous call
	// without durability. A source that wants durability posts to the events door.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	URL string `json:"url"`
}

// TriggerStatus is the state of one trigger.
type TriggerStatus struct {
	// Name of the trigger.
	// +required
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Ready says whether the trigger calls the function.
	// +optional
	Ready bool `json:"ready"`
	// Reason is one of the reasons of the condition TriggersReady.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// Message says what a person can do.
	// +optional
	// +kubebuilder:validation:MaxLength=32768
	Message string `json:"message,omitempty"`
	// Pending is the number of messages that wait for a call, those to be
	// repeated among them.
	// +optional
	Pending int64 `json:"pending,omitempty"`
	// InFlight is the number of messages that are being called; with orderBy at
	// most concurrency: what its dispatcher holds beyond counts as pending.
	// +optional
	InFlight int64 `json:"inFlight,omitempty"`
	// Dead is the number of dead letters of this trigger.
	// +optional
	Dead int64 `json:"dead,omitempty"`
	// LastDelivery is when a message of this trigger was last settled: the call
	// succeeded, or is to be repeated, or the message is dead.
	// +optional
	LastDelivery *metav1.Time `json:"lastDelivery,omitempty"`
}
