package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroup is above every process of the cluster, so that all can be found when
// nothing else is known of them any more. Its name is the state folder's alone.
func (n Node) cgroup() string {
	sum := sha256.Sum256([]byte(n.State))
	return fmt.Sprintf("/serviceful-cluster-%x", sum[:6])
}

// podCgroup is where the kubelet puts pods.
func (n Node) podCgroup() string { return n.cgroup() + "/pods" }

// cgroupTrees returns the root of each hierarchy below the mount: one with cgroup
// v2, the mount itself; one for each controller, and one more, with v1.
func cgroupTrees(mount string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err == nil {
		return []string{mount}, nil
	}
	entries, err := os.ReadDir(mount)
	if err != nil {
		return nil, err
	}
	var trees []string
	for _, e := range entries {
		if e.IsDir() {
			trees = append(trees, filepath.Join(mount, e.Name()))
		}
	}
	return trees, nil
}

// makeCgroups makes the cluster's cgroups and puts the process into its own.
// Only where processes are counted: the host's other limits stay in force.
func (n Node) makeCgroups(mount string, pid int) error {
	trees, err := cgroupTrees(mount)
	if err != nil {
		return err
	}
	var own string
	for _, tree := range trees {
		prepare := inherit
		if tree == mount {
			prepare = delegate
		}
		for _, folder := range []string{filepath.Join(tree, n.cgroup()), filepath.Join(tree, n.podCgroup())} {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			if err := prepare(filepath.Dir(folder), folder); err != nil {
				return err
			}
		}
		if tree == mount || slices.Contains(strings.Split(filepath.Base(tree), ","), "pids") {
			own = filepath.Join(tree, n.cgroup(), "node")
		}
	}
	if own == "" {
		return fmt.Errorf("%s has no controller pids, which the cluster needs", mount)
	}
	if err := os.MkdirAll(own, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// inherit gives a new group the processors and memory of its parent: in v1 it has
// none until they are set, and takes no process.
func inherit(parent, child string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // of another controller
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(child, file), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// delegate lets the groups below one use the controllers that the kubelet does,
// which only v2 asks for. It can do without hugetlb where the host has none.
func delegate(parent, _ string) error {
	text, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err != nil {
		return err
	}
	offered := strings.Fields(string(text))
	wanted := []string{"cpu", "cpuset", "memory", "pids"}
	for _, c := range wanted {
		if !slices.Contains(offered, c) {
			return fmt.Errorf("%s has no controller %s, which the cluster needs", parent, c)
		}
	}
	if slices.Contains(offered, "hugetlb") {
		wanted = append(wanted, "hugetlb")
	}
	return os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+strings.Join(wanted, " +")), 0o644)
}

// groupFolders returns the cluster's cgroups, the innermost first.
func (n Node) groupFolders() ([]string, error) {
	trees, err := cgroupTrees(cgroupMount)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, tree := range trees {
		err := filepath.WalkDir(filepath.Join(tree, n.cgroup()), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil // a group may vanish while it is walked
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	slices.Reverse(folders)
	return folders, nil
}

// processes returns every process of the cluster.
func (n Node) processes() ([]int, error) {
	folders, err := n.groupFolders()
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, folder := range folders {
		procs, _ := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
		for _, field := range strings.Fields(string(procs)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// removeCgroups removes the cluster's cgroups; one that has a process stays.
func (n Node) removeCgroups() error {
	folders, err := n.groupFolders()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := syscall.Rmdir(folder); err != nil && !errors.Is(err, syscall.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: folder, Err: err}
		}
	}
	return nil
}
