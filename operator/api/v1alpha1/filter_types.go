package v1alpha1

// Filter is one filter in the dialects of Knative's subscriptions API. Exactly
// one field is set; all, any and not contain simple filters.
//
// +kubebuilder:validation:ExactlyOneOf=exact;prefix;suffix;cesql;all;any;not
type Filter struct {
	// Exact lets an event pass whose attributes have exactly these values.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule=`self.all(k, k.size() <= 20 && self[k].size() <= 256 && k.matches(r"^[a-z][a-z0-9]*$"))`,message="must map CloudEvents attribute names, at most 20 lower-case letters and digits, to values of at most 256 characters"
	Exact map[string]string `json:"exact,omitempty"`
	// Prefix lets an event pass whose attributes begin with these values.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule=`self.all(k, k.size() <= 20 && self[k].size() <= 256 && k.matches(r"^[a-z][a-z0-9]*$"))`,message="must map CloudEvents attribute names, at most 20 lower-case letters and digits, to values of at most 256 characters"
	Prefix map[string]string `json:"prefix,omitempty"`
	// Suffix lets an event pass whose attributes end with these values.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule=`self.all(k, k.size() <= 20 && self[k].size() <= 256 && k.matches(r"^[a-z][a-z0-9]*$"))`,message="must map CloudEvents attribute names, at most 20 lower-case letters and digits, to values of at most 256 characters"
	Suffix map[string]string `json:"suffix,omitempty"`
	// CESQL lets an event pass for which this CloudEvents SQL expression is true.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CESQL string `json:"cesql,omitempty"`
	// All lets an event pass that all of these filters let pass.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	All []LeafFilter `json:"all,omitempty"`
	// Any lets an event pass that at least one of these filters lets pass.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Any []LeafFilter `json:"any,omitempty"`
	// Not lets an event pass that this filter does not let pass.
	// +optional
	Not *LeafFilter `json:"not,omitempty"`
}

// LeafFilter is one filter in a simple dialect. Exactly one field is set.
//
// +kubebuilder:validation:ExactlyOneOf=exact;prefix;suffix;cesql
type LeafFilter struct {
	// Exact lets an event pass whose attributes have exactly these values.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule=`self.all(k, k.size() <= 20 && self[k].size() <= 256 && k.matches(r"^[a-z][a-z0-9]*$"))`,message="must map CloudEvents attribute names, at most 20 lower-case letters and digits, to values of at most 256 characters"
	Exact map[string]string `json:"exact,omitempty"`
	// Prefix lets an event pass whose attributes begin with these values.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule=`self.all(k, k.size() <= 20 && self[k].size() <= 256 && k.matches(r"^[a-z][a-z0-9]*$"))`,message="must map CloudEvents attribute names, at most 20 lower-case letters and digits, to values of at most 256 characters"
	Prefix map[string]string `json:"prefix,omitempty"`
	// Suffix lets an event pass whose attributes end with these values.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule=`self.all(k, k.size() <= 20 && self[k].size() <= 256 && k.matches(r"^[a-z][a-z0-9]*$"))`,message="must map CloudEvents attribute names, at most 20 lower-case letters and digits, to values of at most 256 characters"
	Suffix map[string]string `json:"suffix,omitempty"`
	// CESQL lets an event pass for which this CloudEvents SQL expression is true.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	CESQL string `json:"cesql,omitempty"`
}
