package node

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Init is the first process of the node's namespaces. It waits until the host
// has laid the link (go reaches its end), makes the namespaces fit for a node
// and starts every component; then it buries what dies and starts a component
// that ended anew. It returns only when it fails, and with it everything ends.
func (n Node) Init(laid io.Reader) error {
	if _, err := io.ReadAll(laid); err != nil {
		return fmt.Errorf("waiting for the host: %w", err)
	}
	for _, step := range []func() error{n.mountAll, setKernel, bringUpNetwork} {
		if err := step(); err != nil {
			return err
		}
	}
	s := &supervisor{node: n, running: map[int]component{}}
	go s.bury()
	for _, c := range n.components() {
		if err := s.start(c); err != nil {
			return err
		}
		for c.await && !c.healthy("/") {
			time.Sleep(100 * time.Millisecond)
		}
	}
	select {}
}

// mountAll gives the node mounts of its own. The folders that programs insist
// on are in the state folder or in memory, so nothing of them stays.
func (n Node) mountAll() error {
	mounts := []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC},
		{"tmpfs", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV},
		{"tmpfs", "/var/log", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV},
		{n.in("kubelet"), kubeletFolder, "", syscall.MS_BIND},
		{n.in("cni"), cniFolder, "", syscall.MS_BIND},
	}
	for _, m := range mounts {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	return syscall.Sethostname([]byte(nodeName))
}

// setKernel sets what holds for these namespaces only.
func setKernel() error {
	for file, value := range map[string]string{
		"net/ipv4/ip_forward":                "1",
		"net/bridge/bridge-nf-call-iptables": "1",
		"net/ipv6/conf/all/disable_ipv6":     "1",
		"net/ipv6/conf/default/disable_ipv6": "1",
	} {
		err := os.WriteFile(filepath.Join("/proc/sys", file), []byte(value), 0o644)
		if os.IsNotExist(err) && strings.HasPrefix(file, "net/ipv6") {
			continue // a kernel may be without it
		}
		if err != nil {
			return fmt.Errorf("setting %s: %w", file, err)
		}
	}
	return nil
}

// bringUpNetwork leaves one way: to the host. There is no default route, so
// nothing that runs here reaches beyond this machine. The node itself calls a
// Service only if there is a route before kube-proxy's rules give the packet
// another address: one to a bridge without ports, where all else is lost.
func bringUpNetwork() error {
	for _, args := range []string{
		"link set lo up",
		"addr add " + Address + "/30 dev " + nodeLink,
		"link set " + nodeLink + " up",
		"link add services0 type bridge",
		"link set services0 up",
		"route add " + serviceRange + " dev services0 src " + Address,
		"route add unreachable default",
	} {
		if err := ip(strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// supervisor keeps components running.
type supervisor struct {
	node    Node
	mu      sync.Mutex
	running map[int]component // by process id
}

func (s *supervisor) start(c component) error {
	s.mu.Lock() // until the process is known: it may end at once
	defer s.mu.Unlock()
	log, err := os.OpenFile(s.node.logFile(c.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	path := filepath.Join(s.node.Programs, c.name)
	process, err := os.StartProcess(path, append([]string{path}, c.args...), &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + s.node.Programs + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "OTEL_TRACES_EXPORTER=none"},
		Files: []*os.File{nil, log, log},
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", c.name, err)
	}
	s.running[process.Pid] = c
	return process.Release()
}

// bury waits for every process that ends here, components and orphans alike.
func (s *supervisor) bury() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err != nil { // none yet, or interrupted
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.mu.Lock()
		c, ok := s.running[pid]
		delete(s.running, pid)
		s.mu.Unlock()
		if !ok {
			continue
		}
		fmt.Printf("%s %s ended (exit status %d, signal %d), starting it again\n",
			time.Now().Format(time.RFC3339), c.name, status.ExitStatus(), status.Signal())
		time.AfterFunc(time.Second, func() {
			if err := s.start(c); err != nil {
				fmt.Println(err)
			}
		})
	}
}
