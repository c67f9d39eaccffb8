package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// sleepers is how many functions of each kind at zero are called, each once: no
// call comes while an instance of an earlier one goes.
const sleepers = 10

// apart is what passes before each start, so that none is measured beside what the
// node still does for the one before.
const apart = 2 * time.Second

// sleeperKinds are what sleepers say of the services that they use: a function
// that uses some has a token, which its instance waits for.
var sleeperKinds = []struct{ what, name, uses string }{
	{"cluster-cold p50", "sleeper", ""},
	{"cluster-cold with services p50", "emitter", "emits: [bench.slept.v1]"},
}

const sleeperText = `
apiVersion: serviceful.dev/v1alpha1
kind: Function
metadata: {name: %[1]s}
spec:
  image: %[2]s
  %[3]s
  triggers:
  - name: sync
    http: {methods: [GET], path: /sync/%[1]s}
---`

func clusterCold(ctx context.Context, _ *workshop) ([]result, error) {
	const namespace = "bench-cold"
	c, err := openCluster(ctx)
	if err != nil {
		return nil, err
	}
	manifests := ""
	for _, kind := range sleeperKinds {
		for n := range sleepers {
			manifests += fmt.Sprintf(sleeperText, fmt.Sprint(kind.name, n), c.image, kind.uses)
		}
	}
	var bare []time.Duration
	ours := make([][]time.Duration, len(sleeperKinds))
	err = c.within(ctx, namespace, func() error {
		if err := c.deploy(ctx, namespace, "function", manifests); err != nil {
			return err
		}
		if err := c.awaitZero(ctx, namespace); err != nil {
			return err
		}
		for n := range sleepers {
			time.Sleep(apart)
			took, err := c.barePod(ctx, namespace)
			if err != nil {
				return err
			}
			bare = append(bare, took)
			for i, kind := range sleeperKinds {
				time.Sleep(apart)
				began := time.Now()
				if err := get(ctx, c.client, fmt.Sprint("http://", namespace, domain, "/sync/", kind.name, n)); err != nil {
					return err
				}
				ours[i] = append(ours[i], time.Since(began))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var results []result
	for i, kind := range sleeperKinds {
		results = append(results, result{
			what: kind.what, ours: inMillis(median(ours[i])), yardstick: inMillis(median(bare)),
			value: float64(median(ours[i])) / float64(median(bare)), target: 1.4,
		})
	}
	return results, nil
}

// barePod is how long a pod of the function's image takes from its creation to its
// first answer. It is gone when that is known.
func (c *cluster) barePod(ctx context.Context, namespace string) (took time.Duration, err error) {
	pods, now := c.kube.CoreV1().Pods(namespace), int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "bare"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "sink", Image: c.image, Env: []corev1.EnvVar{{Name: "PORT", Value: "8080"}, {Name: "BIND", Value: "0.0.0.0"}},
		}}},
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=bare"})
	if err != nil {
		return 0, fmt.Errorf("watching a bare pod: %w", err)
	}
	defer events.Stop()
	began := time.Now()
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return 0, fmt.Errorf("creating a bare pod: %w", err)
	}
	running, err := await(events, func(e watch.Event, p *corev1.Pod) bool { return p.Status.PodIP != "" })
	if err != nil {
		return 0, fmt.Errorf("waiting for the address of a bare pod: %w", err)
	}
	impatient := &http.Client{Timeout: time.Second}
	defer impatient.CloseIdleConnections()
	url := "http://" + running.Status.PodIP + ":8080/sync"
	err = poll(ctx, time.Millisecond, patience, func() bool { return get(ctx, impatient, url) == nil })
	took = time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("waiting for the answer of a bare pod: %w", err)
	}
	if err := pods.Delete(ctx, "bare", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		return 0, fmt.Errorf("removing a bare pod: %w", err)
	}
	_, err = await(events, func(e watch.Event, p *corev1.Pod) bool { return e.Type == watch.Deleted })
	return took, err
}

// await returns the pod of the first event that is as wanted.
func await(events watch.Interface, wanted func(watch.Event, *corev1.Pod) bool) (*corev1.Pod, error) {
	for e := range events.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok && wanted(e, p) {
			return p, nil
		}
	}
	return nil, errors.New("the watch has ended")
}
