package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	// Group is the API group of the Function kind.
	Group = "serviceful.dev"
	// Version is the version of the Function kind that this package describes.
	Version = "v1alpha1"
	// Kind is the name of the kind.
	Kind = "Function"
)

const (
	// FunctionLabel is on every object that is made of a Function, and has the
	// Function's name. Knative and Kubernetes copy it to the objects that they
	// make of those.
	FunctionLabel = "serviceful.dev/function"
	// TokenAudience is whom a function's projected token is for: the services
	// door, and never the API server.
	TokenAudience = "serviceful"
	// HostAnnotation on a Namespace names the host that its routes answer on.
	// Unset: "<namespace>.<domain>".
	HostAnnotation = "serviceful.dev/host"
	// DevCommandAnnotation on a Function is the command line that `serviceful
	// dev` runs in the manifest's folder instead of building a ko:// image.
	DevCommandAnnotation = "serviceful.dev/dev-command"
)

// GroupVersion is the group and version that this package registers.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// AddToScheme registers Function and FunctionList in a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Function{}, &FunctionList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
