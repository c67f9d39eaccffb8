package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHighAvailability installs the chart, in another namespace, with its one value
// for high availability: streams are on three servers, and with one of them gone
// everything goes on.
func TestHighAvailability(t *testing.T) {
	s := newSpace(t)
	c := newChart(s)
	c.takeOver()
	c.helm("uninstall", release, "--wait", "--timeout", "8m")

	ha := *c
	ha.namespace = s.name + "-ha"
	for i := range 3 {
		ha.volume(fmt.Sprintf("%s-%d", ha.namespace, i))
	}
	t.Cleanup(func() {
		if _, err := s.tryKubectl("", "-n", s.name, "delete", "functions", "--all", "--timeout=120s"); err != nil {
			t.Error(err)
		}
		if _, err := ha.tryHelm("uninstall", release, "--ignore-not-found", "--wait"); err != nil {
			t.Error(err)
		}
		if _, err := s.tryKubectl("", "delete", "namespace", ha.namespace, "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
	// The definition is still the release's before.
	ha.helm("install", release, ha.file, "--create-namespace", "--take-ownership", "--set", "highAvailability=true", "--wait", "--timeout", "8m")
	s.findDoor(ha.namespace)
	s.apply(s.functions(), "membership", "offers", "notifications")
	before := s.join("before@example.com")
	for _, stream := range []string{"EV_", "RETRY_", "WORK_", "KV_"} {
		ha.replicated(stream)
	}
	accepted := s.mustCall(202, "POST", "/members/"+before+"/offers/welcome-coffee/redemptions", "").header.Get("Location")

	s.kubectl("", "-n", ha.namespace, "delete", "pod", "serviceful-nats-0", "--grace-period=0", "--force")
	s.eventually("what was accepted is done", func() bool {
		a, err := s.call("GET", accepted, "")
		return err == nil && strings.Contains(a.body, `"succeeded"`)
	})
	s.eventually("another member joins", func() bool {
		a, err := s.call("POST", "/members", `{"name": "Bob", "email": "after@example.com", "postcode": "AB1 2CD"}`)
		return err == nil && (a.status == 201 || a.status == 409) // 409: it did, and the answer was lost
	})
	s.mustCall(200, "GET", "/members/"+before, "")
	s.kubectl("", "-n", ha.namespace, "rollout", "status", "--timeout=240s", "statefulset/serviceful-nats")
}

// volume gives the cluster, which has no storage class, a folder of this machine.
func (c *chart) volume(name string) {
	c.Helper()
	folder := filepath.Join(cmp.Or(os.Getenv("SERVICEFUL_CLUSTER_DIR"), "/var/lib/serviceful-cluster"), name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chown(folder, 65532, 65532); err != nil {
		c.Fatal(err)
	}
	c.kubectl(fmt.Sprintf(`{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": %q}, "spec": {
		"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "10Gi"}, "hostPath": {"path": %q}}}`, name, folder), "apply", "-f", "-")
	c.Cleanup(func() { c.kubectl("", "delete", "persistentvolume", name, "--wait=false") })
}

// replicated checks that each stream of the space with this prefix is on three
// servers, as the first of them sees it.
func (c *chart) replicated(prefix string) {
	c.Helper()
	found := false
	for _, stream := range c.streams(c.namespace) {
		if !strings.HasPrefix(stream.Name, prefix) {
			continue
		}
		found = true
		if stream.Config.Replicas != 3 {
			c.Errorf("stream %s has %d replicas, want 3", stream.Name, stream.Config.Replicas)
		}
	}
	if !found {
		c.Errorf("there is no stream %s", prefix)
	}
}
