package render

import (
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"knative.dev/serving/pkg/apis/autoscaling"
	"knative.dev/serving/pkg/apis/serving"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

const (
	// visibilityLabel keeps a Knative Service off the public ingress: by its own
	// URL it would be called past the gateway.
	visibilityLabel = "networking.knative.dev/visibility"

	// startUp is how long a function may take until it is ready. Knative counts
	// it into the time of a request that waits; a function's timeout begins after.
	startUp = 300 * time.Second

	// containerName is the one that Knative's documents use: kubectl logs -c.
	containerName = "user-container"

	// queueProxyMemory is what Knative's proxy beside the function really takes.
	// Without a request the scheduler thinks it is nothing.
	queueProxyMemory = "32Mi"
)

// Service is the Knative Service that runs a function. What it leaves out is
// Knative's to say:
//   - no startupProbe, no exec probe and no periodSeconds: with any of them a
//     woken instance is used only when the kubelet has seen it ready, which
//     looks once a second; Knative's own probe looks every 50 ms.
//   - no name for the revision: Knative names each, so old and new run side by
//     side while traffic moves.
//   - no port: the function listens on $PORT, whatever Knative sets it to.
func Service(fn *v1alpha1.Function, s Settings) *servingv1.Service {
	service := &servingv1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: servingv1.SchemeGroupVersion.String(), Kind: "Service"},
		ObjectMeta: objectMeta(fn),
	}
	service.Labels[visibilityLabel] = serving.VisibilityClusterLocal
	service.Spec.Template = servingv1.RevisionTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{ManagedByLabel: ManagedBy, v1alpha1.FunctionLabel: fn.Name},
			Annotations: scaling(fn.Spec.Scale),
		},
		Spec: revision(fn, s),
	}
	service.Annotations = map[string]string{HashAnnotation: hash(service)}
	return service
}

// scaling is how many instances there are, and when.
func scaling(s *v1alpha1.Scale) map[string]string {
	if s == nil {
		s = &v1alpha1.Scale{}
	}
	idle := v1alpha1.DefaultIdle
	if s.Idle != nil {
		idle = s.Idle.Duration
	}
	annotations := map[string]string{
		// Knative's own autoscaler, whatever the cluster's default: no other goes to
		// zero.
		autoscaling.ClassAnnotationKey:    autoscaling.KPA,
		autoscaling.MinScaleAnnotationKey: number(s.Min, v1alpha1.DefaultScaleMin),
		autoscaling.MaxScaleAnnotationKey: number(s.Max, v1alpha1.DefaultScaleMax),
		// One instance proves that a revision starts before it gets any call. Where
		// the cluster's default is none, every image would be Ready.
		autoscaling.InitialScaleAnnotationKey: "1",
		// The last instance stops when this long nothing was called. Both have the
		// bounds 6s and 1h; Knative takes whole seconds.
		autoscaling.WindowAnnotationKey: strconv.FormatInt(seconds(idle), 10) + "s",
		// The window has said all: the cluster's defaults must not add to it.
		autoscaling.ScaleDownDelayAnnotationKey:      "0s",
		autoscaling.ScaleToZeroPodRetentionPeriodKey: "0s",
		// The activator stays in the path: no probe before the scale to zero, no
		// change of endpoints at each cold start, no scraping of instances, and a
		// burst waits in one place instead of at instances that are full.
		autoscaling.TargetBurstCapacityKey:                     "-1",
		serving.QueueSidecarMemoryResourceRequestAnnotationKey: queueProxyMemory,
		// How full instances are when there is to be one more: in percent of their
		// concurrency, and Knative's own default, whatever the cluster's is.
		autoscaling.TargetUtilizationPercentageKey: "70",
	}
	switch *concurrency(s) {
	case 0: // without a limit there is nothing to take a part of; this is Knative's default
		annotations[autoscaling.TargetAnnotationKey] = "100"
	case 1: // 0.7 calls would have one long call start a second instance
		annotations[autoscaling.TargetUtilizationPercentageKey] = "100"
	}
	return annotations
}

func number(n *int32, unset int32) string {
	if n != nil {
		unset = *n
	}
	return strconv.Itoa(int(unset))
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func revision(fn *v1alpha1.Function, s Settings) servingv1.RevisionSpec {
	timeout, never, noLinks := requestTimeout(fn, s), int64(0), false
	return servingv1.RevisionSpec{
		// What one instance gets at once; scaling says how much of it the autoscaler aims at.
		ContainerConcurrency: concurrency(fn.Spec.Scale),
		// The doors and the dispatcher keep the function's own timeout; Knative's
		// only has to be no shorter, for the answer's first byte and its last.
		TimeoutSeconds: &timeout, ResponseStartTimeoutSeconds: &timeout,
		// A stream may be silent for as long as it may last.
		IdleTimeoutSeconds: &never,
		PodSpec: corev1.PodSpec{
			ServiceAccountName: fn.Name,
			// A variable for each Service of the namespace makes starts slow, and
			// with a thousand of them impossible.
			EnableServiceLinks: &noLinks,
			ImagePullSecrets:   as[[]corev1.LocalObjectReference](fn.Spec.ImagePullSecrets),
			Volumes:            append(mounted(fn), token(fn)...),
			Containers:         []corev1.Container{container(fn, s)},
		},
	}
}

// requestTimeout is how long Knative lets a request take: the start and the
// call, in as far as the cluster allows it.
func requestTimeout(fn *v1alpha1.Function, s Settings) int64 {
	longest := v1alpha1.DefaultTimeout
	if fn.Spec.Timeout != nil {
		longest = fn.Spec.Timeout.Duration
	}
	for _, t := range fn.Spec.Triggers { // a trigger may have a longer one
		if t.Delivery != nil && t.Delivery.Timeout != nil {
			// Validated: PT, then hours, minutes and seconds, which Go writes alike.
			if d, err := time.ParseDuration(strings.ToLower(strings.TrimPrefix(*t.Delivery.Timeout, "PT"))); err == nil {
				longest = max(longest, d)
			}
		}
	}
	return min(seconds(longest+startUp), seconds(s.MaxTimeout))
}

func concurrency(s *v1alpha1.Scale) *int64 {
	n := int64(v1alpha1.DefaultScaleConcurrency)
	if s != nil && s.Concurrency != nil {
		n = int64(*s.Concurrency)
	}
	return &n
}

func container(fn *v1alpha1.Function, s Settings) corev1.Container {
	c := corev1.Container{
		Name: containerName, Image: fn.Spec.Image,
		// Knative pins a tag to its digest once for each revision, so an image that
		// a node has is the right one: no start asks the registry again.
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         fn.Spec.Command, Args: fn.Spec.Args,
		EnvFrom: as[[]corev1.EnvFromSource](fn.Spec.EnvFrom),
		Env: append(as[[]corev1.EnvVar](fn.Spec.Env), // last, so nothing stands over them
			corev1.EnvVar{Name: "K_SINK", Value: s.ServicesURL + eventsPath},
			corev1.EnvVar{Name: "SERVICEFUL_URL", Value: s.ServicesURL},
			corev1.EnvVar{Name: "SERVICEFUL_TOKEN_FILE", Value: tokenFolder + "/" + tokenFile},
		),
		VolumeMounts:    mounts(fn),
		SecurityContext: restricted(),
	}
	if usesServices(fn) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: tokenVolume, MountPath: tokenFolder, ReadOnly: true})
	}
	if fn.Spec.Resources != nil {
		c.Resources = as[corev1.ResourceRequirements](fn.Spec.Resources)
	}
	return c
}

// restricted is what the pod security standard of that name asks for, so that a
// namespace may enforce it.
func restricted() *corev1.SecurityContext {
	yes, no := true, false
	return &corev1.SecurityContext{
		RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no,
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// mounts are the function's. Only an empty folder can be written to; Knative
// marks the others read-only, and so what we ask for is what there is.
func mounts(fn *v1alpha1.Function) []corev1.VolumeMount {
	out := as[[]corev1.VolumeMount](fn.Spec.VolumeMounts)
	for i := range out {
		if !slices.ContainsFunc(fn.Spec.Volumes, func(v v1alpha1.Volume) bool { return v.Name == out[i].Name && v.EmptyDir != nil }) {
			out[i].ReadOnly = true
		}
	}
	return out
}

// mounted are the function's volumes. Knative refuses one that nobody mounts.
func mounted(fn *v1alpha1.Function) (out []corev1.Volume) {
	for _, v := range as[[]corev1.Volume](fn.Spec.Volumes) {
		if slices.ContainsFunc(fn.Spec.VolumeMounts, func(m v1alpha1.VolumeMount) bool { return m.Name == v.Name }) {
			out = append(out, v)
		}
	}
	return out
}

// usesServices reports whether any call to the services door is allowed to a
// function.
func usesServices(fn *v1alpha1.Function) bool { return len(fn.Spec.Emits)+len(fn.Spec.Bindings) > 0 }

// token is the folder with the file that says who the function is. One that may
// use nothing has none: nobody needs a credential that opens no door, and an
// instance without volumes starts sooner, for the kubelet looks only a few times
// a second whether all are mounted.
func token(fn *v1alpha1.Function) []corev1.Volume {
	if !usesServices(fn) {
		return nil
	}
	lifetime := seconds(tokenLifetime)
	return []corev1.Volume{{Name: tokenVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: v1alpha1.TokenAudience, ExpirationSeconds: &lifetime, Path: tokenFile,
		}}},
	}}}}
}
