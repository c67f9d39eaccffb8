package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
)

// EnvVar is one environment variable, as in a pod.
//
// +kubebuilder:validation:XValidation:rule="!has(self.value) || !has(self.valueFrom)",message="set value or valueFrom, not both"
type EnvVar struct {
	// Name of the variable. PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, K_SINK
	// and SERVICEFUL_* are the platform's.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[-._A-Za-z][-._A-Za-z0-9]*$")`,message="must be letters, digits, '_', '-' and '.', not starting with a digit"
	// +kubebuilder:validation:XValidation:rule=`!(self in ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "K_SINK"]) && !self.startsWith("SERVICEFUL_")`,message="PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, K_SINK and SERVICEFUL_* are set by the platform: choose another name"
	Name string `json:"name"`
	// Value of the variable. Unset: empty.
	// +optional
	// +kubebuilder:validation:MaxLength=32768
	Value string `json:"value,omitempty"`
	// ValueFrom takes the value from elsewhere.
	// +optional
	ValueFrom *EnvVarSource `json:"valueFrom,omitempty"`
}

// EnvVarSource is where a variable's value comes from. Exactly one field is set.
//
// +kubebuilder:validation:ExactlyOneOf=secretKeyRef;configMapKeyRef;fieldRef
type EnvVarSource struct {
	// SecretKeyRef takes the value of a Secret's key.
	// +optional
	SecretKeyRef *KeySelector `json:"secretKeyRef,omitempty"`
	// ConfigMapKeyRef takes the value of a ConfigMap's key.
	// +optional
	ConfigMapKeyRef *KeySelector `json:"configMapKeyRef,omitempty"`
	// FieldRef takes the value of a field of the pod.
	// +optional
	FieldRef *FieldSelector `json:"fieldRef,omitempty"`
}

// KeySelector names one key of a Secret or ConfigMap.
type KeySelector struct {
	// Name of the Secret or ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in it.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
	// Optional lets the container start without it. Unset: it must exist.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// FieldSelector names a field of the pod.
type FieldSelector struct {
	// FieldPath of the field, such as metadata.name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	FieldPath string `json:"fieldPath"`
}

// EnvFromSource takes variables from a whole ConfigMap or Secret. Exactly one
// of configMapRef and secretRef is set.
//
// +kubebuilder:validation:ExactlyOneOf=configMapRef;secretRef
type EnvFromSource struct {
	// Prefix is put before every name. Unset: none.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Prefix string `json:"prefix,omitempty"`
	// ConfigMapRef names the ConfigMap.
	// +optional
	ConfigMapRef *EnvSource `json:"configMapRef,omitempty"`
	// SecretRef names the Secret.
	// +optional
	SecretRef *EnvSource `json:"secretRef,omitempty"`
}

// EnvSource names a ConfigMap or Secret.
type EnvSource struct {
	// Name of the ConfigMap or Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Optional lets the container start without it. Unset: it must exist.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// ResourceRequirements are a container's requests and limits.
type ResourceRequirements struct {
	// Limits are the most that the container may use.
	// +optional
	// +kubebuilder:validation:MaxProperties=10
	Limits map[string]resource.Quantity `json:"limits,omitempty"`
	// Requests are what the scheduler keeps free for the container.
	// +optional
	// +kubebuilder:validation:MaxProperties=10
	Requests map[string]resource.Quantity `json:"requests,omitempty"`
}

// Volume is a set of files. Exactly one source is set beside the name.
//
// +kubebuilder:validation:ExactlyOneOf=secret;configMap;projected;emptyDir
type Volume struct {
	// Name of the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Name string `json:"name"`
	// Secret shows a Secret's keys as files.
	// +optional
	Secret *SecretVolume `json:"secret,omitempty"`
	// ConfigMap shows a ConfigMap's keys as files.
	// +optional
	ConfigMap *ConfigMapVolume `json:"configMap,omitempty"`
	// Projected shows several sources in one folder.
	// +optional
	Projected *ProjectedVolume `json:"projected,omitempty"`
	// EmptyDir is an empty folder that lives as long as the instance.
	// +optional
	EmptyDir *EmptyDirVolume `json:"emptyDir,omitempty"`
}

// SecretVolume shows a Secret's keys as files.
type SecretVolume struct {
	// SecretName is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`
	// Items are the keys shown. Unset: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Items []KeyToPath `json:"items,omitempty"`
	// DefaultMode is the mode of the files; 0 to 511 (0777). Unset: 0644.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	DefaultMode *int32 `json:"defaultMode,omitempty"`
	// Optional lets the container start without it. Unset: it must exist.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// ConfigMapVolume shows a ConfigMap's keys as files.
type ConfigMapVolume struct {
	// Name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Items are the keys shown. Unset: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Items []KeyToPath `json:"items,omitempty"`
	// DefaultMode is the mode of the files; 0 to 511 (0777). Unset: 0644.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	DefaultMode *int32 `json:"defaultMode,omitempty"`
	// Optional lets the container start without it. Unset: it must exist.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// KeyToPath shows one key as one file.
type KeyToPath struct {
	// Key of the Secret or ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
	// Path of the file, relative to the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
	// Mode of the file; 0 to 511 (0777). Unset: the volume's defaultMode.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	Mode *int32 `json:"mode,omitempty"`
}

// ProjectedVolume shows several sources in one folder.
type ProjectedVolume struct {
	// Sources of the files.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	Sources []VolumeProjection `json:"sources"`
	// DefaultMode is the mode of the files; 0 to 511 (0777). Unset: 0644.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=511
	DefaultMode *int32 `json:"defaultMode,omitempty"`
}

// VolumeProjection is one source of a projected volume. Exactly one field is set.
//
// +kubebuilder:validation:ExactlyOneOf=secret;configMap;serviceAccountToken
type VolumeProjection struct {
	// Secret shows a Secret's keys.
	// +optional
	Secret *KeyProjection `json:"secret,omitempty"`
	// ConfigMap shows a ConfigMap's keys.
	// +optional
	ConfigMap *KeyProjection `json:"configMap,omitempty"`
	// ServiceAccountToken shows a token of the function's account.
	// +optional
	ServiceAccountToken *TokenProjection `json:"serviceAccountToken,omitempty"`
}

// KeyProjection shows the keys of a Secret or ConfigMap.
type KeyProjection struct {
	// Name of the Secret or ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Items are the keys shown. Unset: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Items []KeyToPath `json:"items,omitempty"`
	// Optional lets the container start without it. Unset: it must exist.
	// +optional
	Optional *bool `json:"optional,omitempty"`
}

// TokenProjection shows a token of the function's account.
type TokenProjection struct {
	// Audience that the token is for. Unset: the API server.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Audience string `json:"audience,omitempty"`
	// ExpirationSeconds is how long a token is valid; at least 600. Unset: 3600.
	// +optional
	// +kubebuilder:validation:Minimum=600
	ExpirationSeconds *int64 `json:"expirationSeconds,omitempty"`
	// Path of the file, relative to the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`
}

// EmptyDirVolume is an empty folder that lives as long as the instance.
type EmptyDirVolume struct {
	// Medium is "" (the node's disk) or Memory.
	// +optional
	// +kubebuilder:validation:Enum="";Memory
	Medium string `json:"medium,omitempty"`
	// SizeLimit is the most that it may hold. Unset: no limit.
	// +optional
	SizeLimit *resource.Quantity `json:"sizeLimit,omitempty"`
}

// VolumeMount says where in the container a volume appears.
type VolumeMount struct {
	// Name of the volume.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// MountPath is the absolute path in the container.
	// +required
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule=`self.startsWith("/") && !self.contains(":")`,message="must be an absolute path without ':'"
	MountPath string `json:"mountPath"`
	// SubPath is the part of the volume that is mounted. Unset: all of it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	SubPath string `json:"subPath,omitempty"`
	// ReadOnly refuses writes.
	// +optional
	ReadOnly bool `json:"readOnly,omitempty"`
}

// LocalObjectReference names an object of the Function's namespace.
type LocalObjectReference struct {
	// Name of the object.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}
