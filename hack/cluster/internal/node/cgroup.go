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

const (
	cgroupMount = "/sys/fs/cgroup"
	cgroup2     = 0x63677270 // the file system's magic number
)

// cgroup is above every process of the cluster, so that all can be found when
// nothing else is known of them any more. Its name is the state folder's alone.
func (n Node) cgroup() string {
	sum := sha256.Sum256([]byte(n.State))
	return fmt.Sprintf("/serviceful-cluster-%x", sum[:6])
}

// podCgroup is where the kubelet puts pods.
func (n Node) podCgroup() string { return n.cgroup() + "/pods" }

// cgroupTrees returns the root of each hierarchy: one with cgroup v2, one for
// each controller, and one more, with v1.
func cgroupTrees() ([]string, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(cgroupMount, &stat); err != nil {
		return nil, err
	}
	if stat.Type == cgroup2 {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, err
	}
	var trees []string
	for _, e := range entries {
		if e.IsDir() {
			trees = append(trees, filepath.Join(cgroupMount, e.Name()))
		}
	}
	return trees, nil
}

// makeCgroups makes the cluster's cgroups and puts the process into its own.
// Only where processes are counted: the host's other limits stay in force.
func (n Node) makeCgroups(pid int) error {
	trees, err := cgroupTrees()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		top := filepath.Join(tree, n.cgroup())
		for _, folder := range []string{top, filepath.Join(tree, n.podCgroup())} {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // empty in v1 until set
				inherit(filepath.Dir(folder), folder, file)
			}
		}
		delegate(tree)
		delegate(top)
		if tree != cgroupMount && filepath.Base(tree) != "pids" {
			continue
		}
		own := filepath.Join(top, "node")
		if err := os.MkdirAll(own, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func inherit(parent, child, file string) {
	if value, err := os.ReadFile(filepath.Join(parent, file)); err == nil {
		_ = os.WriteFile(filepath.Join(child, file), value, 0o644)
	}
}

// delegate lets the groups below one use its controllers, which only v2 asks for.
func delegate(group string) {
	controllers, err := os.ReadFile(filepath.Join(group, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(controllers)) {
		_ = os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

// groupFolders returns the cluster's cgroups, the innermost first.
func (n Node) groupFolders() ([]string, error) {
	trees, err := cgroupTrees()
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
