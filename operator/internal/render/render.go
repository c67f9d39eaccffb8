package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

const (
	// ManagedByLabel marks everything that is rendered here: the operator
	// watches nothing else.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy is its value.
	ManagedBy = "serviceful"
	// HashAnnotation is the digest of an object as it was rendered. It tells a
	// change of ours from what Knative's webhook adds to the object.
	HashAnnotation = "serviceful.dev/rendered"

	// tokenLifetime bounds the use of a token that leaked. The kubelet renews it
	// when 80% have passed.
	tokenLifetime = time.Hour
	tokenVolume   = "serviceful-token"
	tokenFolder   = "/var/run/secrets/serviceful.dev"
	tokenFile     = "token"

	// eventsPath is where the services door takes events.
	eventsPath = "/v1/events"
)

// Settings are what the installation decides for every function.
type Settings struct {
	ServicesURL string        // of the services door, as a function reaches it
	MaxTimeout  time.Duration // the longest request that Knative allows: max-revision-timeout-seconds
}

// Unresolved reports whether an image is Go source that nobody has built yet.
func Unresolved(image string) bool { return strings.HasPrefix(image, "ko://") }

// ServiceAccount is who a function is: its token says so at the services door.
// There is one for each Function, or those of a namespace would share rights.
func ServiceAccount(fn *v1alpha1.Function) *corev1.ServiceAccount {
	never := false
	account := &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: objectMeta(fn),
		// A function has no business with the API server, so it gets no token for it.
		AutomountServiceAccountToken: &never,
	}
	account.Annotations = map[string]string{HashAnnotation: hash(account)}
	return account
}

func objectMeta(fn *v1alpha1.Function) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: fn.Name, Namespace: fn.Namespace,
		Labels: map[string]string{ManagedByLabel: ManagedBy, v1alpha1.FunctionLabel: fn.Name},
		// What is the Function's goes with it.
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(fn, v1alpha1.GroupVersion.WithKind(v1alpha1.Kind))},
	}
}

// hash is a digest of an object's JSON, which is the same for equal objects.
func hash(object any) string {
	sum := sha256.Sum256(encode(object))
	return hex.EncodeToString(sum[:16])
}

// as turns one of the kind's own types into the pod's type of the same JSON.
func as[T any](v any) (out T) {
	if err := json.Unmarshal(encode(v), &out); err != nil {
		panic(err) // TestPodFields converts every field
	}
	return out
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain values: nothing in them can fail
	}
	return data
}
