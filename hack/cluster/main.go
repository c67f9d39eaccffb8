// Command cluster runs a real Kubernetes of one node in namespaces of its own,
// built from Go modules that go.sum pins. `./hack/cluster/cluster help` says how.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/serviceful/serviceful/hack/cluster/internal/build"
)

const usage = `usage: ./hack/cluster/cluster COMMAND

  build    build every program ahead of time
  assets   build kube-apiserver, etcd and kubectl, and print their folder (KUBEBUILDER_ASSETS)
`

// command is one thing that the user can ask for.
type command struct {
	name string
	run  func(ctx context.Context, b build.Builder, args []string) error
}

var commands = []command{
	{"build", buildAll},
	{"assets", assets},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Print(usage)
		return nil
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return fmt.Errorf("there is no command %q\n\n%s", args[0], usage)
	}
	b := build.Builder{Source: os.Getenv("CLUSTER_SOURCE"), Cache: os.Getenv("CLUSTER_CACHE"), Out: os.Stderr}
	return commands[i].run(ctx, b, args[1:])
}

func assets(ctx context.Context, b build.Builder, _ []string) error {
	folder, err := b.Build(ctx, build.Assets)
	if err != nil {
		return err
	}
	fmt.Println(folder)
	return nil
}

func buildAll(ctx context.Context, b build.Builder, _ []string) error {
	_, err := b.Build(ctx, build.All)
	return err
}
