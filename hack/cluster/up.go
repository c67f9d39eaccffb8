package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/serviceful/serviceful/hack/cluster/internal/build"
	"github.com/serviceful/serviceful/hack/cluster/internal/manifest"
	"github.com/serviceful/serviceful/hack/cluster/internal/node"
)

// domain is that of functions: hello.default.serviceful.test. No name under
// .test is ever anybody's.
const domain = "serviceful.test"

// up starts a new cluster, or finishes one that is there already.
func (c cluster) up(ctx context.Context, _ []string) error {
	if err := install(ctx); err != nil {
		return err
	}
	programs, err := c.build.Build(ctx, build.All)
	if err != nil {
		return err
	}
	images, err := c.platformImages(programs)
	if err != nil {
		return err
	}
	names, err := images.names()
	if err != nil {
		return err
	}
	c.node.Programs, c.node.Pause = programs, names["pause"]
	start := time.Now()
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"starting the node", c.startNode},
		{"giving images to the registry", images.push},
		{"deploying DNS, Knative Serving and Traefik", func(ctx context.Context) error { return c.deploy(ctx, names) }},
		{"waiting until all of it is ready", c.awaitReady},
	}
	for _, step := range steps {
		fmt.Fprintf(os.Stderr, "%4.0fs %s\n", time.Since(start).Seconds(), step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w\nthe logs are in %s; `down` takes away what is there", step.what, err, c.node.Logs())
		}
	}
	fmt.Fprintf(os.Stderr, "%4.0fs the cluster is up\n", time.Since(start).Seconds())
	fmt.Printf("export KUBECONFIG=%s\nregistry: %s (plain HTTP)\ningress:  curl -H 'Host: NAME.NAMESPACE.%s' http://%s\n",
		c.node.Kubeconfig(), node.Registry, domain, node.IngressAddress)
	return nil
}

// startNode clears what a killed cluster left, unless the node runs.
func (c cluster) startNode(ctx context.Context) error {
	if c.node.Pid() == 0 {
		if err := c.node.Stop(ctx); err != nil {
			return fmt.Errorf("clearing what a killed cluster left: %w", err)
		}
		if err := c.node.ForgetLogs(); err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if err := c.node.Start(ctx, self); err != nil {
			return err
		}
	}
	return c.node.AwaitAPI(ctx)
}

func (c cluster) deploy(ctx context.Context, images map[string]string) error {
	values := manifest.Values{Images: images, DNS: node.DNSAddress, Ingress: node.IngressAddress, Domain: domain, Registry: node.Registry}
	for module, folder := range map[string]*string{
		"knative.dev/serving":    &values.Serving,
		"knative.dev/networking": &values.Networking,
		"knative.dev/caching":    &values.Caching,
	} {
		var err error
		if *folder, err = c.build.ModuleFolder(ctx, "knative", module); err != nil {
			return err
		}
	}
	first, then, err := manifest.All(values)
	if err != nil {
		return err
	}
	if err := c.apply(ctx, first); err != nil {
		return err
	}
	if _, err := c.ask(ctx, nil, "wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinitions", "--all"); err != nil {
		return err
	}
	return c.apply(ctx, then)
}

func (c cluster) apply(ctx context.Context, objects []manifest.Object) error {
	text, err := manifest.Encode(objects)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, text, "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

func (c cluster) awaitReady(ctx context.Context) error {
	for _, args := range [][]string{
		{"--for=condition=Available", "deployment", "--all", "--all-namespaces"},
		{"--for=condition=Ready", "node", "--all"},
	} {
		if _, err := c.ask(ctx, nil, append([]string{"wait", "--timeout=300s"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// ask runs kubectl and returns what it prints.
func (c cluster) ask(ctx context.Context, input []byte, args ...string) (string, error) {
	cmd, err := c.kubectlCommand(ctx, args)
	if err != nil {
		return "", err
	}
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w\n%s", args[0], err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

func (c cluster) kubectlCommand(ctx context.Context, args []string) (*exec.Cmd, error) {
	programs, err := c.build.Build(ctx, build.Assets)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, filepath.Join(programs, "kubectl"),
		append([]string{"--kubeconfig=" + c.node.Kubeconfig()}, args...)...), nil
}
