package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/serviceful/serviceful/hack/cluster/internal/build"
)

var errDown = errors.New("the cluster is not up; `up` starts it")

func (c cluster) buildAll(ctx context.Context, _ []string) error {
	_, err := c.build.Build(ctx, build.All)
	return err
}

func (c cluster) assets(ctx context.Context, _ []string) error {
	folder, err := c.build.Build(ctx, build.Assets)
	if err == nil {
		fmt.Println(folder)
	}
	return err
}

func (c cluster) down(ctx context.Context, _ []string) error {
	if err := c.node.Stop(ctx); err != nil {
		return err
	}
	left, err := c.node.Leftovers()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("still there:\n  %s", strings.Join(left, "\n  "))
	}
	fmt.Println("the cluster is down: no process, mount, link, route, firewall rule or cgroup is left")
	return nil
}

func (c cluster) status(ctx context.Context, _ []string) error {
	if c.node.Pid() == 0 {
		return errDown
	}
	var ill []string
	for _, h := range c.node.Health() {
		word := "ok"
		if !h.OK {
			word = "NOT WELL"
			ill = append(ill, h.Name)
		}
		fmt.Printf("%-26s %s\n", h.Name, word)
	}
	pods, err := c.ask(ctx, nil, "get", "nodes,pods", "--all-namespaces")
	if err != nil {
		return err
	}
	fmt.Printf("\n%s", pods)
	if len(ill) > 0 {
		return fmt.Errorf("not well: %s", strings.Join(ill, ", "))
	}
	return nil
}

// load streams each archive to containerd, as the kubelet will find it.
func (c cluster) load(ctx context.Context, args []string) error {
	if c.node.Pid() == 0 {
		return errDown
	}
	if len(args) == 0 {
		return errors.New("load needs the image archives or OCI layout folders to import")
	}
	programs, err := c.build.Build(ctx, build.All)
	if err != nil {
		return err
	}
	for _, path := range args {
		archive := path
		if info, err := os.Stat(path); err != nil {
			return err
		} else if info.IsDir() {
			if archive, err = archiveOf(ctx, path); err != nil {
				return err
			}
			defer os.Remove(archive)
		}
		cmd := exec.CommandContext(ctx, filepath.Join(programs, "ctr"),
			"--address", c.node.Socket(), "--namespace", "k8s.io", "images", "import", "--digests", archive)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("importing %s: %w\n%s", path, err, strings.TrimSpace(string(out)))
		}
		fmt.Println("loaded", path)
	}
	return nil
}

// archiveOf packs an OCI layout folder, since containerd takes only archives.
func archiveOf(ctx context.Context, folder string) (string, error) {
	file, err := os.CreateTemp("", "image-*.tar")
	if err != nil {
		return "", err
	}
	file.Close()
	if out, err := exec.CommandContext(ctx, "tar", "-C", folder, "-cf", file.Name(), ".").CombinedOutput(); err != nil {
		os.Remove(file.Name())
		return "", fmt.Errorf("packing %s: %w\n%s", folder, err, out)
	}
	return file.Name(), nil
}

// logs names every log file, or prints those of one component or container.
// They stay after `down`, until the next `up`.
func (c cluster) logs(_ context.Context, args []string) error {
	name := "*"
	if len(args) > 0 {
		name = args[0]
	}
	var files []string
	for _, pattern := range []string{name + ".log", "pods/*/" + name + "/*.log"} {
		some, err := filepath.Glob(filepath.Join(c.node.Logs(), pattern))
		if err != nil {
			return err
		}
		files = append(files, some...)
	}
	if len(files) == 0 {
		return fmt.Errorf("there is no log of that name in %s", c.node.Logs())
	}
	for _, file := range files {
		if len(args) == 0 {
			fmt.Println(file)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(text); err != nil {
			return err
		}
	}
	return nil
}

func (c cluster) kubectl(ctx context.Context, args []string) error {
	cmd, err := c.kubectlCommand(ctx, args)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

func (c cluster) kubeconfig(context.Context, []string) error {
	fmt.Println(c.node.Kubeconfig())
	return nil
}

func (c cluster) images(ctx context.Context, _ []string) error {
	programs, err := c.build.Build(ctx, build.All)
	if err != nil {
		return err
	}
	set, err := c.platformImages(programs)
	if err != nil {
		return err
	}
	names, err := set.names()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Println(name, names[name])
	}
	return nil
}
