package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/serviceful/serviceful/hack/cluster/internal/node"
)

// check says why this machine cannot run the cluster, if it cannot.
func (c cluster) check(ctx context.Context, _ []string) error {
	if err := node.CheckNamespaces(ctx); err != nil {
		return fmt.Errorf("this machine does not let root make namespaces: %w", err)
	}
	if missing := missingPackages(); len(missing) > 0 && !hasApt() {
		return needs(missing)
	}
	return nil
}

// debian names the package of each command that the node needs of the host.
var debian = map[string]string{
	"runc": "runc", "iptables": "iptables", "conntrack": "conntrack", "ipset": "ipset",
	"ethtool": "ethtool", "socat": "socat", "ip": "iproute2", "/usr/lib/cni/bridge": "containernetworking-plugins",
}

// install brings the Debian packages that are missing.
func install(ctx context.Context) error {
	missing := missingPackages()
	if len(missing) == 0 {
		return nil
	}
	if !hasApt() {
		return needs(missing)
	}
	fmt.Fprintln(os.Stderr, "installing", strings.Join(missing, ", "))
	for _, args := range [][]string{
		{"update", "-qq"},
		append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("installing packages: %w\n%s", err, out)
		}
	}
	return nil
}

func missingPackages() (out []string) {
	for command, pkg := range debian {
		if _, err := exec.LookPath(command); err != nil {
			out = append(out, pkg)
		}
	}
	slices.Sort(out)
	return out
}

func hasApt() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil
}

func needs(packages []string) error {
	return fmt.Errorf("the node needs these Debian packages or their like: %s", strings.Join(packages, " "))
}
