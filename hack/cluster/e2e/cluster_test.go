//go:build e2e

// Package e2e tests the cluster from outside, as its user: it runs the command
// and speaks HTTP to what it started.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/serviceful/serviceful/hack/cluster/internal/image"
)

const (
	registry = "198.18.0.2:5000"
	ingress  = "http://198.19.0.80/"
)

// TestCluster starts a cluster twice, the second time over a killed one.
func TestCluster(t *testing.T) {
	before := machine(t)
	t.Cleanup(func() {
		cluster(t, "down")
		if after := machine(t); after != before {
			t.Errorf("the cluster left something behind; before:\n%s\nafter:\n%s", before, after)
		}
	})
	cluster(t, "up")
	t.Run("every component is well", func(t *testing.T) { cluster(t, "status") })
	t.Run("nothing reaches beyond this machine", noWayOut)
	t.Run("a function wakes from zero and goes back", wakeFromZero)
	t.Run("a loaded image runs", loadedImage)

	kill(t)
	cluster(t, "up")
	t.Run("a function wakes from zero after the node was killed", wakeFromZero)
}

// cluster runs the command and returns what it prints to standard output.
func cluster(t *testing.T, args ...string) string {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command("../cluster", args...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stdout), os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("cluster %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// apply gives the cluster an object.
func apply(t *testing.T, object string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "object.yaml")
	if err := os.WriteFile(file, []byte(object), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster(t, "kubectl", "apply", "-f", file)
}

// machine tells what a cluster could leave on this machine.
func machine(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, command := range []string{
		"ip -o link | sed 's/ mtu .*//'",
		"ip route",
		"cut -d' ' -f1-3 /proc/mounts",
		"iptables-save | grep -v '^#'",
		"find /sys/fs/cgroup -name " + filepath.Base(state()),
		"cat /proc/[0-9]*/cgroup 2>/dev/null | grep " + filepath.Base(state()) + "/",
	} {
		out, _ := exec.Command("bash", "-c", command).Output() // grep fails where it finds nothing
		fmt.Fprintf(&all, "$ %s\n%s", command, out)
	}
	return all.String()
}

func noWayOut(t *testing.T) {
	pid := nodePid(t)
	if out, err := exec.Command("nsenter", "--net", "--target", pid, "ip", "route", "get", "192.0.2.1").CombinedOutput(); err == nil {
		t.Errorf("the node has a way out: %s", out)
	}
}

// state is the folder of the cluster.
func state() string {
	if folder := os.Getenv("SERVICEFUL_CLUSTER_DIR"); folder != "" {
		return folder
	}
	return "/var/lib/serviceful-cluster"
}

func nodePid(t *testing.T) string {
	t.Helper()
	pid, err := os.ReadFile(filepath.Join(state(), "pid"))
	if err != nil {
		t.Fatal(err)
	}
	return string(pid)
}

// kill ends the node's first process, as the kernel might.
func kill(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("kill", "-KILL", nodePid(t)).CombinedOutput(); err != nil {
		t.Fatalf("killing the node: %v: %s", err, out)
	}
}

// hello builds the function's image.
func hello(t *testing.T) v1.Image {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "hello")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "./hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the function: %v\n%s", err, out)
	}
	img, err := image.Of(binary, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

const service = `apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/window: 6s}}
    spec: {containers: [{image: "%s"}]}
`

func wakeFromZero(t *testing.T) {
	img := hello(t)
	if err := image.Push(t.Context(), registry+"/hello", img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	apply(t, fmt.Sprintf(service, registry+"/hello@"+digest.String()))
	cluster(t, "kubectl", "wait", "--for=condition=Ready", "--timeout=180s", "services.serving.knative.dev/hello")
	awaitNoPods(t)
	resp, body := call(t)
	if resp.StatusCode != http.StatusOK || strings.TrimSpace(body) != "hello" {
		t.Fatalf("the function at zero answered %s: %s", resp.Status, body)
	}
	awaitNoPods(t)
}

func call(t *testing.T) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ingress, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "hello.default.serviceful.test"
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the call took %s", time.Since(start).Round(time.Millisecond))
	return resp, string(body)
}

// awaitNoPods waits until the function has no pod, not even one that ends.
func awaitNoPods(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		var pods struct{ Items []any }
		out, err := exec.Command("../cluster", "kubectl", "get", "pods", "-l", "serving.knative.dev/service=hello", "-o", "json").Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &pods); err != nil {
			t.Fatal(err)
		}
		if len(pods.Items) == 0 {
			return
		}
	}
	t.Fatal("the function did not go back to zero")
}

func loadedImage(t *testing.T) {
	folder := t.TempDir()
	index, err := layout.Write(folder, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	name := "example.test/loaded:v1"
	img := hello(t)
	if err := index.AppendImage(img, layout.WithAnnotations(map[string]string{"io.containerd.image.name": name})); err != nil {
		t.Fatal(err)
	}
	cluster(t, "load", folder)
	apply(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: loaded}
spec:
  containers:
  - {name: loaded, image: "%s", imagePullPolicy: Never, env: [{name: PORT, value: "8080"}]}
`, name))
	cluster(t, "kubectl", "wait", "--for=condition=Ready", "--timeout=120s", "pod/loaded")
}
