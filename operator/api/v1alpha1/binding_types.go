package v1alpha1

// Access is what a binding allows.
//
// +kubebuilder:validation:Enum=Read;ReadWrite
type Access string

const (
	// AccessRead allows reading and listing.
	AccessRead Access = "Read"
	// AccessReadWrite allows everything.
	AccessReadWrite Access = "ReadWrite"
)

// Binding allows the use of one service. Exactly one field is set.
//
// +kubebuilder:validation:ExactlyOneOf=keyValue;objects;queue;mail;function
type Binding struct {
	// KeyValue allows the use of a key-value bucket.
	// +optional
	KeyValue *KeyValueBinding `json:"keyValue,omitempty"`
	// Objects allows the use of an object store.
	// +optional
	Objects *ObjectsBinding `json:"objects,omitempty"`
	// Queue allows sending to a queue.
	// +optional
	Queue *QueueBinding `json:"queue,omitempty"`
	// Mail allows sending mail.
	// +optional
	Mail *MailBinding `json:"mail,omitempty"`
	// Function allows calling another function of the namespace synchronously.
	// +optional
	Function *FunctionBinding `json:"function,omitempty"`
}

// KeyValueBinding allows the use of a key-value bucket of the namespace.
type KeyValueBinding struct {
	// Bucket is the bucket's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Bucket string `json:"bucket"`
	// Access is what the function may do with the bucket.
	// +optional
	// +kubebuilder:default=ReadWrite
	Access Access `json:"access,omitempty"`
}

// ObjectsBinding allows the use of an object store of the namespace.
type ObjectsBinding struct {
	// Store is the store's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Store string `json:"store"`
	// Access is what the function may do with the store.
	// +optional
	// +kubebuilder:default=ReadWrite
	Access Access `json:"access,omitempty"`
}

// QueueBinding allows sending to a queue of the namespace.
type QueueBinding struct {
	// Name of the queue.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Name string `json:"name"`
}

// MailBinding allows sending mail. It has no fields: `mail: {}`.
type MailBinding struct{}

// FunctionBinding allows calling another function of the namespace.
type FunctionBinding struct {
	// Name of the function.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=50
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")`,message="must be a function's name: lower-case letters, digits and '-', starting with a letter and ending with a letter or a digit"
	Name string `json:"name"`
}
