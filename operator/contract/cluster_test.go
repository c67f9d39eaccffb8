package contract

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/testkit/kubectl"
	"github.com/serviceful/serviceful/operator/internal/testkit/smtpsink"
)

const (
	// hostAddress is where the cluster's pods reach this machine (hack/cluster).
	hostAddress = "198.18.0.1"
	system      = "serviceful-system"
)

// TestCluster tests every clause on the cluster that hack/contract has
// installed Serviceful on.
func TestCluster(t *testing.T) {
	if os.Getenv("CONTRACT_STUB") == "" {
		t.Skip("there is no cluster to test on: hack/test contract looks for one")
	}
	d := newDirector(t, hostAddress)
	run(t, newCluster(t, d), d)
}

// cluster is a namespace of its own on the cluster of the current kubeconfig.
type cluster struct {
	space    string
	gateway  string
	program  string
	image    string
	director *director
	sink     *smtpsink.Sink
}

var _ target = (*cluster)(nil)

func newCluster(t *testing.T, d *director) *cluster {
	t.Helper()
	k := &cluster{space: fmt.Sprintf("%s-%d", namespace, time.Now().UnixNano()), image: os.Getenv("CONTRACT_STUB"), director: d, program: buildCommand(t)}
	k.gateway = strings.TrimSpace(kubectl.Run(t, "", "-n", system, "get", "service", "serviceful-gateway", "-o", "jsonpath={.spec.clusterIP}"))
	var err error
	if k.sink, err = smtpsink.New(net.JoinHostPort(hostAddress, "0")); err != nil {
		t.Fatal(err)
	}
	kubectl.Run(t, "", "-n", system, "patch", "deployment", "serviceful-dispatcher", "--type=json",
		`-p=[{"op":"add","path":"/spec/template/spec/containers/0/args","value":["--smtp=`+k.sink.Addr()+`"]}]`)
	k.rolledOut(t)
	kubectl.Run(t, "", "create", "namespace", k.space)
	t.Cleanup(func() {
		if t.Failed() {
			kubectl.Log(t, []string{"-n", k.space, "get", "functions,pods", "-o", "wide"},
				[]string{"-n", system, "logs", "--tail=40", "-l", "app.kubernetes.io/part-of=serviceful", "--prefix"})
		}
		kubectl.Run(t, "", "delete", "namespace", k.space, "--wait=false")
	})
	return k
}

func (k *cluster) name() string { return "cluster" }
func (k *cluster) ns() string   { return k.space }
func (k *cluster) door() string { return "http://" + k.gateway }

func (k *cluster) manifest(f function) string {
	return f.manifest(k.space, k.image, "", "DIRECTOR="+k.director.url)
}

func (k *cluster) apply(t *testing.T, ready bool, functions ...function) {
	t.Helper()
	var all strings.Builder
	for _, f := range functions {
		all.WriteString("---\n" + k.manifest(f))
	}
	kubectl.Run(t, all.String(), "apply", "-f", "-")
	for _, f := range functions {
		if ready {
			kubectl.Run(t, "", "-n", k.space, "wait", "--for=condition=Ready", "--timeout=230s", "function/"+f.name)
		}
	}
}

func (k *cluster) remove(t *testing.T, name string) {
	t.Helper()
	kubectl.Run(t, "", "-n", k.space, "delete", "function", name, "--timeout=230s")
}

func (k *cluster) refuse(t *testing.T, f function) string {
	t.Helper()
	if _, err := kubectl.Try(t, k.manifest(f), "apply", "--dry-run=server", "-f", "-"); err != nil {
		return err.Error()
	}
	return ""
}

func (k *cluster) problem(t *testing.T, name string) string {
	t.Helper()
	return kubectl.Run(t, "", "-n", k.space, "get", "function", name, "-o", "jsonpath={.status.triggers}{.status.conditions}")
}

func (k *cluster) mails(*testing.T) (out []string) {
	for _, m := range k.sink.Messages() {
		out = append(out, fmt.Sprintf("%+v", m))
	}
	return out
}

// crash kills the data plane without asking it.
func (k *cluster) crash(t *testing.T) {
	t.Helper()
	kubectl.Run(t, "", "-n", system, "delete", "pod", "--force", "--grace-period=0", "-l", "app.kubernetes.io/part-of=serviceful,app.kubernetes.io/name in (dispatcher,gateway)")
	k.rolledOut(t)
	wait(t, "the door is open again", func() bool {
		resp, err := client.Get(k.door() + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// rolledOut waits until the data plane is as it should be, and what was before has
// ended: a dispatcher that ends calls a batch that is not full.
func (k *cluster) rolledOut(t *testing.T) {
	t.Helper()
	kubectl.Run(t, "", "-n", system, "rollout", "status", "--timeout=230s", "deployment/serviceful-dispatcher", "deployment/serviceful-gateway")
	for _, part := range []string{"dispatcher", "gateway"} {
		wait(t, "the old "+part+" has ended", func() bool {
			pods := kubectl.Run(t, "", "-n", system, "get", "pods", "-l", "app.kubernetes.io/part-of=serviceful,app.kubernetes.io/name="+part, "-o", "name")
			wanted := kubectl.Run(t, "", "-n", system, "get", "deployment/serviceful-"+part, "-o", "jsonpath={.spec.replicas}")
			return fmt.Sprint(len(strings.Fields(pods))) == strings.TrimSpace(wanted)
		})
	}
}

func (k *cluster) command(t *testing.T, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.program, args...)
	cmd.Dir = t.TempDir() // where no data folder is
	out, err := cmd.CombinedOutput()
	return string(out), err
}
