// Command cluster runs a real Kubernetes of one node in namespaces of its own,
// built from Go modules that go.sum pins. `./hack/cluster/cluster help` says how.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/serviceful/serviceful/hack/cluster/internal/build"
	"github.com/serviceful/serviceful/hack/cluster/internal/node"
)

const usage = `Runs a real Kubernetes of one node on this machine: containerd, CNI, kube-proxy,
CoreDNS, Knative Serving behind Traefik, and a registry. Nothing in it reaches
beyond this machine, or is reached from there. It needs Linux and root.

usage: ./hack/cluster/cluster COMMAND

  up               build what is not built yet, clear what a killed cluster left, start a new one
  check            say whether this machine can run it, and change nothing
  down             stop the cluster; nothing of it stays but its logs
  status           say how every component and every pod is; the exit code is 3 when no cluster is up
  load FILE...     import image archives (tar) or OCI layout folders into the node's containerd
  logs [NAME]      name the log files, or print those of one component or container
  kubectl ARGS...  run kubectl against the cluster
  kubeconfig       print the path of the kubeconfig
  images           print the cluster's own images by name and digest, among them nats-server
  build            build every program ahead of time
  assets           build kube-apiserver, etcd and kubectl, and print their folder (KUBEBUILDER_ASSETS);
                   this one needs no root

Environment:
  SERVICEFUL_CLUSTER_DIR  the folder of the running cluster (default /var/lib/serviceful-cluster)
  XDG_CACHE_HOME          the programs and the registry's images are in serviceful/cluster below it
`

// cluster is what every command works on.
type cluster struct {
	build build.Builder
	node  node.Node
}

// command is one thing that the user can ask for.
type command struct {
	name    string
	anybody bool // needs neither root nor Linux
	run     func(c cluster, ctx context.Context, args []string) error
}

var commands = []command{
	{"up", false, cluster.up},
	{"check", false, cluster.check},
	{"down", false, cluster.down},
	{"status", false, cluster.status},
	{"load", false, cluster.load},
	{"logs", false, cluster.logs},
	{"kubectl", false, cluster.kubectl},
	{"kubeconfig", false, cluster.kubeconfig},
	{"images", false, cluster.images},
	{"build", true, cluster.buildAll},
	{"assets", true, cluster.assets},
	{"init", false, cluster.init},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(os.Args) > 1 && os.Args[1] == "kubectl" {
		os.Exit(exit.ExitCode()) // it has said why
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	switch {
	case errors.Is(err, errDown):
		os.Exit(3) // as a service's status is that does not run
	case err != nil:
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		fmt.Print(usage)
		return nil
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return fmt.Errorf("there is no command %q\n\n%s", args[0], usage)
	}
	if !commands[i].anybody && (runtime.GOOS != "linux" || os.Geteuid() != 0) {
		return fmt.Errorf("%s needs Linux and root: it makes namespaces, mounts and network links", args[0])
	}
	cache := os.Getenv("CLUSTER_CACHE")
	state := os.Getenv("SERVICEFUL_CLUSTER_DIR")
	if state == "" {
		state = "/var/lib/serviceful-cluster"
	}
	state, err := filepath.Abs(state)
	if err != nil {
		return err
	}
	c := cluster{
		build: build.Builder{Source: os.Getenv("CLUSTER_SOURCE"), Cache: cache, Out: os.Stderr},
		node:  node.Node{State: state, Images: filepath.Join(cache, "registry")},
	}
	return commands[i].run(c, ctx, args[1:])
}

// init is not for users: the first process of the node's namespaces.
func (c cluster) init(_ context.Context, args []string) error {
	if len(args) != 3 || os.Getpid() != 1 {
		return errors.New("init is what `up` runs")
	}
	n := node.Node{State: args[0], Images: args[1], Programs: args[2]}
	return n.Init(os.NewFile(3, "laid"))
}
