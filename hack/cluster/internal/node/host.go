package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	kubeletFolder = "/var/lib/kubelet"
	cniFolder     = "/var/lib/cni"

	// marker is a file that says of a state folder that it is a cluster's.
	marker = ".serviceful-cluster"

	// patience is how long the node may take for one step before `up` gives up.
	patience = 3 * time.Minute
)

// Start makes a new node, which lives on when its starter ends.
func (n Node) Start(ctx context.Context, self string) error {
	if err := n.writeConfig(); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	for _, folder := range []string{kubeletFolder, cniFolder} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	_ = exec.CommandContext(ctx, "modprobe", "-a", "br_netfilter", "overlay").Run() // may be built in
	return n.startInit(self)
}

// AwaitAPI waits until the API server and the registry of a started node answer.
func (n Node) AwaitAPI(ctx context.Context) error {
	ready := func() bool {
		for _, c := range n.components() {
			if (c.name == "kube-apiserver" || c.name == "registry") && !c.healthy(n.Root()) {
				return false
			}
		}
		return true
	}
	if !waitFor(ctx, patience, func() bool { return n.Pid() == 0 || ready() }) {
		return errors.New("the API server did not become ready in time")
	}
	if n.Pid() == 0 {
		return fmt.Errorf("the node ended; its last words are in %s", n.logFile("node"))
	}
	return nil
}

// namespaces are those that are the node's own.
const namespaces = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

// CheckNamespaces makes the namespaces of a node and leaves them again.
func CheckNamespaces(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	return cmd.Run()
}

// startInit starts this program as the first process of new namespaces, lays
// the link to it and then lets it go on.
func (n Node) startInit(self string) error {
	log, err := os.OpenFile(n.logFile("node"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	waiting, laid, err := os.Pipe()
	if err != nil {
		return err
	}
	defer laid.Close()
	defer waiting.Close()
	cmd := exec.Command(self, "init", n.State, n.Images, n.Programs)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = "/", log, log, []*os.File{waiting}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: namespaces,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("making namespaces: %w", err)
	}
	go func() { _ = cmd.Wait() }() // or it would stay a zombie while this program lives
	pid := strconv.Itoa(cmd.Process.Pid)
	if err := os.WriteFile(n.in("pid"), []byte(pid), 0o644); err != nil {
		return err
	}
	if err := n.makeCgroups(cgroupMount, cmd.Process.Pid); err != nil {
		return fmt.Errorf("making cgroups: %w", err)
	}
	return layLink(pid)
}

func layLink(pid string) error {
	for _, args := range []string{
		"link add " + hostLink + " type veth peer name " + nodeLink + " netns " + pid,
		"addr add " + HostAddress + "/30 dev " + hostLink,
		"link set " + hostLink + " up",
		"route add " + podRange + " via " + Address,
		"route add " + serviceRange + " via " + Address,
	} {
		if err := ip(strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

// Pid is the first process of the node, or 0 when no node runs.
func (n Node) Pid() int {
	text, err := os.ReadFile(n.in("pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		return 0
	}
	pids, err := n.processes()
	if err != nil || !slices.Contains(pids, pid) {
		return 0
	}
	return pid
}

// Root is the node's root folder as the host sees it.
func (n Node) Root() string {
	return filepath.Join("/proc", strconv.Itoa(n.Pid()), "root")
}

// Socket is where the host reaches containerd.
func (n Node) Socket() string { return filepath.Join(n.Root(), containerdSocket) }

// Stop ends every process of a cluster, and takes away what it made; also of one
// that was killed half-way. Logs stay in the state folder until the next start.
func (n Node) Stop(ctx context.Context) error {
	if err := n.claim(); err != nil {
		return err
	}
	if pid := n.Pid(); pid != 0 { // takes all with it, and at once
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	gone := waitFor(ctx, time.Minute, func() bool {
		pids, err := n.processes()
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return err == nil && len(pids) == 0
	})
	if !gone {
		return errors.New("some processes of the cluster do not end")
	}
	_ = ip("link", "del", hostLink) // and with it its routes; most often it went with the node
	if !waitFor(ctx, time.Minute, func() bool { return n.removeCgroups() == nil }) {
		return n.removeCgroups()
	}
	for _, folder := range []string{kubeletFolder, cniFolder} {
		_ = os.Remove(folder) // one that is not empty is another's
	}
	return n.removeState()
}

// claim makes the state folder a cluster's. It refuses one that holds anything and
// was none before: all that is in it goes with the cluster.
func (n Node) claim() error {
	entries, err := os.ReadDir(n.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ours := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == marker })
	if len(entries) > 0 && !ours {
		return fmt.Errorf("%s is not empty, and was not made for a cluster (it has no file %s): name another folder by SERVICEFUL_CLUSTER_DIR, or empty it", n.State, marker)
	}
	if err := os.MkdirAll(n.State, 0o755); err != nil {
		return err
	}
	return os.WriteFile(n.in(marker), nil, 0o644)
}

func (n Node) removeState() error {
	entries, err := os.ReadDir(n.State)
	if err != nil {
		if os.IsNotExist(err) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if e.Name() == "logs" || e.Name() == marker {
			continue
		}
		if err := os.RemoveAll(n.in(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// ForgetLogs removes what the last cluster left to be read.
func (n Node) ForgetLogs() error { return os.RemoveAll(n.Logs()) }

// Leftovers names what is still there of a cluster that was stopped.
func (n Node) Leftovers() ([]string, error) {
	var left []string
	pids, err := n.processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	left = append(left, n.traces("mount", string(mounts))...)
	checks := []struct{ what, command string }{
		{"link", "ip -o link"},
		{"route", "ip route"},
		{"firewall rule", "iptables-save"},
	}
	for _, c := range checks {
		fields := strings.Fields(c.command)
		out, err := exec.Command(fields[0], fields[1:]...).Output()
		if errors.Is(err, exec.ErrNotFound) {
			continue // what could have made one is not installed
		}
		if err != nil {
			return nil, fmt.Errorf("running %s: %w", c.command, err)
		}
		left = append(left, n.traces(c.what, string(out))...)
	}
	folders, err := n.groupFolders()
	for _, folder := range folders {
		left = append(left, "cgroup "+folder)
	}
	return left, err
}

// traces are the lines of a text that name what a cluster makes.
func (n Node) traces(what, text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if slices.ContainsFunc(strings.Fields(line), n.made) {
			found = append(found, what+" "+strings.TrimSpace(line))
		}
	}
	return found
}

// made reports whether a word is a folder of the state, the link to the node (with
// its peer: serviceful0@if2), or addresses of the cluster's (with a port or not).
func (n Node) made(word string) bool {
	if word == n.State || strings.HasPrefix(word, n.State+"/") {
		return true
	}
	word, _, _ = strings.Cut(word, ":")
	if link, _, _ := strings.Cut(word, "@"); link == hostLink {
		return true
	}
	addresses, err := netip.ParsePrefix(word)
	if one, bad := netip.ParseAddr(word); bad == nil {
		addresses, err = one.Prefix(one.BitLen())
	}
	return err == nil && slices.ContainsFunc([]string{linkRange, podRange, serviceRange}, func(of string) bool {
		subnet := netip.MustParsePrefix(of)
		return subnet.Contains(addresses.Addr()) && subnet.Bits() <= addresses.Bits()
	})
}

// waitFor asks until the answer is yes, or says no after the limit.
func waitFor(ctx context.Context, limit time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if done() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}
