package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// many is how many functions, or plain Knative Services, are applied at once.
	many = 100
	// rest is how long they are at zero until the memory is looked at.
	rest = time.Minute
)

// programs are the platform's, as their images start them.
var programs = []string{"/ko-app/operator", "/ko-app/gateway", "/ko-app/dispatcher"}

// manyText is a function as many are: called by HTTP and by events, with a bucket.
const manyText = `
apiVersion: serviceful.dev/v1alpha1
kind: Function
metadata: {name: %[1]s}
spec:
  image: %[2]s
  scale: {idle: 6s}
  bindings:
  - {keyValue: {bucket: shared, access: ReadWrite}}
  triggers:
  - name: sync
    http: {methods: [GET], path: /sync/%[1]s}
  - name: receive
    event: {types: [bench.%[1]s.v1]}
    path: /events
---`

// set is a hundred objects that are applied to a namespace.
type set struct{ namespace, kind, manifests string }

func clusterMany(ctx context.Context, _ *workshop) ([]result, error) {
	c, err := openCluster(ctx)
	if err != nil {
		return nil, err
	}
	ours := set{namespace: "bench-many", kind: "function"}
	for n := range many {
		ours.manifests += fmt.Sprintf(manyText, fmt.Sprintf("f%03d", n), c.image)
	}
	plain, err := c.plainSet(ctx, ours)
	if err != nil {
		return nil, err
	}
	var (
		own, their time.Duration
		memory     float64
	)
	// In this order what grows over time is the same for both.
	for _, turn := range []struct {
		set  set
		took *time.Duration
		then func(context.Context) error
	}{
		{ours, &own, nil}, {plain, &their, nil}, {plain, &their, nil},
		{ours, &own, func(ctx context.Context) (err error) {
			memory, err = c.idleMemory(ctx, ours.namespace)
			return err
		}},
	} {
		err := c.within(ctx, turn.set.namespace, func() error {
			began := time.Now()
			if err := c.deploy(ctx, turn.set.namespace, turn.set.kind, turn.set.manifests); err != nil {
				return err
			}
			*turn.took += time.Since(began) / 2
			if turn.then == nil {
				return nil
			}
			return turn.then(ctx)
		})
		if err != nil {
			return nil, err
		}
	}
	return []result{
		{
			what: "cluster-many ready", ours: inSeconds(own), yardstick: inSeconds(their),
			value: float64(own) / float64(their), target: 1.15,
		},
		{what: "cluster-many memory", ours: fmt.Sprintf("%.3g MB", memory), value: memory, unit: "MB", target: 150},
	}, nil
}

// plainSet is as many plain Knative Services, with the settings that the operator
// gives to those functions.
func (c *cluster) plainSet(ctx context.Context, functions set) (set, error) {
	plain := set{namespace: "bench-plain", kind: "ksvc"}
	first, _, _ := strings.Cut(functions.manifests, "---")
	err := c.within(ctx, functions.namespace, func() error {
		if err := c.deploy(ctx, functions.namespace, functions.kind, first); err != nil {
			return err
		}
		rendered, err := kubectl(ctx, "", "-n", functions.namespace, "get", "ksvc", "f000", "-o", "json")
		for n := 0; n < many && err == nil; n++ {
			var text string
			text, err = plainService(rendered, fmt.Sprintf("f%03d", n))
			plain.manifests += text + "\n---\n"
		}
		return err
	})
	return plain, err
}

// plainService is a Knative Service as the operator made it, but for its name, and
// for what says that it is a function's: its account and labels.
func plainService(rendered, name string) (string, error) {
	var service struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       struct {
			Template struct {
				Metadata map[string]any `json:"metadata"`
				Spec     map[string]any `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal([]byte(rendered), &service); err != nil {
		return "", fmt.Errorf("reading a function's Knative Service: %w", err)
	}
	service.Metadata = map[string]any{
		"name": name, "labels": map[string]any{"networking.knative.dev/visibility": "cluster-local"},
	}
	delete(service.Spec.Template.Metadata, "labels")
	delete(service.Spec.Template.Spec, "serviceAccountName")
	text, err := json.Marshal(service)
	return string(text), err
}

// idleMemory is the resident memory of the platform's programs in MB, once all
// functions of a namespace have been at zero for a while.
func (c *cluster) idleMemory(ctx context.Context, namespace string) (float64, error) {
	if err := c.awaitZero(ctx, namespace); err != nil {
		return 0, err
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	sum := 0.0
	for _, program := range programs {
		resident, err := programMemory(program)
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(os.Stderr, "%s: %.3g MB\n", program, resident)
		sum += resident
	}
	return sum, nil
}

// programMemory is the resident memory of the processes of a program, in MB. The
// cluster's processes are seen from this machine.
func programMemory(program string) (float64, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, file := range lines {
		line, err := os.ReadFile(file)
		if name, _, _ := strings.Cut(string(line), "\x00"); err != nil || name != program {
			continue // another, or one that has just ended
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		if err != nil {
			return 0, fmt.Errorf("reading the memory of %s: %w", program, err)
		}
		resident, err := residentMemory(string(status))
		if err != nil {
			return 0, err
		}
		sum += resident
	}
	if sum == 0 {
		return 0, errors.New("there is no process of " + program)
	}
	return sum, nil
}
