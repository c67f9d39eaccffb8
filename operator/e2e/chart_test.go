package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const release = "serviceful"

// chart is the packaged chart that hack/release wrote, and Helm.
type chart struct {
	*space
	namespace     string // of the release
	file, install string // the package; what was installed without Helm
	program       string
	home          string // what this machine's user has set for Helm does not count
}

func newChart(s *space) *chart {
	s.Helper()
	dist := filepath.Dir(os.Getenv("E2E_FUNCTIONS"))
	files, err := filepath.Glob(filepath.Join(dist, "serviceful-*.tgz"))
	if err != nil || len(files) != 1 {
		s.Fatalf("%s has the charts %v (%v), want one: hack/release writes it", dist, files, err)
	}
	out, err := exec.Command("go", "tool", "-n", "-modfile=../../hack/tools/helm/go.mod", "helm").Output()
	if err != nil {
		s.Fatalf("building Helm: %v\n%s", err, out)
	}
	c := &chart{s, system, files[0], filepath.Join(dist, "install.yaml"), strings.TrimSpace(string(out)), s.TempDir()}
	s.Cleanup(c.restore)
	return c
}

func (c *chart) tryHelm(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, append(args, "--namespace", c.namespace)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+c.home, "HELM_CONFIG_HOME="+c.home, "HELM_DATA_HOME="+c.home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (c *chart) helm(args ...string) string {
	c.Helper()
	out, err := c.tryHelm(args...)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

// restore leaves the cluster with what was there before the test.
func (c *chart) restore() {
	if _, err := c.tryHelm("uninstall", release, "--ignore-not-found", "--wait"); err != nil {
		c.Error(err)
	}
	for _, args := range [][]string{
		{"annotate", "crd", "functions.serviceful.dev", "meta.helm.sh/release-name-", "meta.helm.sh/release-namespace-", "helm.sh/resource-policy-"},
		{"label", "crd", "functions.serviceful.dev", "app.kubernetes.io/managed-by-", "app.kubernetes.io/instance-", "app.kubernetes.io/version-",
			"app.kubernetes.io/name-", "app.kubernetes.io/part-of-", "helm.sh/chart-"},
		{"apply", "--server-side", "--force-conflicts", "-f", c.install},
		{"-n", system, "rollout", "status", "--timeout=300s", "statefulset/serviceful-nats", "deployment/serviceful-operator",
			"deployment/serviceful-gateway", "deployment/serviceful-dispatcher"},
	} {
		if _, err := c.tryKubectl("", args...); err != nil {
			c.Error(err)
		}
	}
}

// TestChart takes Serviceful over from kubectl with Helm, upgrades it and goes back
// under load, uninstalls it, and installs it again: nothing that was accepted is
// lost, no request fails, and the data is still there.
func TestChart(t *testing.T) {
	s := newSpace(t)
	s.apply(s.functions(), "membership", "offers", "notifications")
	before := s.join("before@example.com")
	c := newChart(s)

	c.takeOver()
	s.mustCall(200, "GET", "/members/"+before, "")
	c.refused("Keep nats.servers=1", "upgrade", release, c.file, "--set", "highAvailability=true")

	j := startJoins(s)
	change := []string{"upgrade", release, c.file, "--wait", "--timeout", "8m"}
	for _, program := range []string{"operator", "gateway", "dispatcher"} {
		change = append(change, "--set", program+".podAnnotations.rolled=yes")
	}
	c.helm(change...)
	c.rolled("yes")
	c.helm("rollback", release, "1", "--wait", "--timeout", "8m")
	c.rolled("")
	j.stop()

	c.helm("uninstall", release, "--wait", "--timeout", "8m")
	if left := s.kubectl("", "-n", system, "get", "deployments,statefulsets,services", "-o", "name"); left != "" {
		t.Errorf("uninstalled, there is still %s", left)
	}
	kept := s.kubectl("", "-n", system, "get", "persistentvolumeclaim/data-serviceful-nats-0", "crd/functions.serviceful.dev", "-o", "name") +
		s.kubectl("", "-n", s.name, "get", "functions", "-o", "name")
	if n := len(strings.Fields(kept)); n != 5 {
		t.Errorf("kept are %s", kept)
	}
	c.refused("Keep nats.servers=1", "install", release, c.file, "--set", "highAvailability=true")
	s.kubectl("", "label", "namespace", s.name, "app.kubernetes.io/version=1.20.0")
	c.refused("is 1.20.0. The oldest", "install", release, c.file, "--set", "knative.namespace="+s.name)

	c.helm("install", release, c.file, "--wait", "--timeout", "8m")
	s.findDoor(system)
	s.apply(s.functions(), "membership", "offers", "notifications")
	s.eventually("the member that joined before is there", func() bool {
		a, err := s.call("GET", "/members/"+before, "")
		return err == nil && a.status == 200
	})
	s.join("after@example.com")
}

// takeOver makes what kubectl installed a release of Helm.
func (c *chart) takeOver() {
	c.Helper()
	c.helm("install", release, c.file, "--take-ownership", "--force-conflicts", "--wait", "--timeout", "8m")
}

// refused checks that Helm does nothing, and says why.
func (c *chart) refused(why string, args ...string) {
	c.Helper()
	if _, err := c.tryHelm(args...); err == nil || !strings.Contains(err.Error(), why) {
		c.Errorf("helm %s: got %v, want %s", strings.Join(args, " "), err, why)
	}
}

// rolled checks that the operator, the gateway and the dispatcher have rolled out
// with this annotation "rolled", or with none.
func (c *chart) rolled(want string) {
	c.Helper()
	for _, program := range []string{"operator", "gateway", "dispatcher"} {
		at := "deployment/serviceful-" + program
		c.kubectl("", "-n", system, "rollout", "status", "--timeout=240s", at)
		got := c.kubectl("", "-n", system, "get", at, "-o", "jsonpath={.spec.template.metadata.annotations.rolled}")
		if got != want {
			c.Errorf("%s is annotated %q, want %q", at, got, want)
		}
	}
}

// join has a member join, and returns the number.
func (s *space) join(email string) string {
	s.Helper()
	var member struct{ Number string }
	s.mustCall(201, "POST", "/members", fmt.Sprintf(`{"name": "Ada", "email": %q, "postcode": "AB1 2CD"}`, email)).decode(s.T, &member)
	return member.Number
}
