package node

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMakeCgroups makes cgroups in folders that look as a host's, but for what the
// kernel puts into a new one.
func TestMakeCgroups(t *testing.T) {
	n := Node{State: "/var/lib/serviceful-cluster"}
	top, pods := n.cgroup()[1:], n.podCgroup()[1:]
	const all = "cpuset cpu io memory hugetlb pids rdma"
	v2 := func(root, below string) map[string]string {
		return map[string]string{"cgroup.controllers": root, top + "/cgroup.controllers": below}
	}
	v1 := map[string]string{
		"cpuset/cpuset.cpus": "0-3", "cpuset/cpuset.mems": "0", "cpu,cpuacct/cpu.shares": "", "systemd/tasks": "",
		"unified/cgroup.controllers": "",
	}
	withPids := func(tree string) map[string]string {
		host := maps.Clone(v1)
		host[tree+"/pids.max"] = ""
		return host
	}
	const delegated = "+cpu +cpuset +memory +pids +hugetlb"
	inherited := map[string]string{
		"cpuset/" + top + "/cpuset.cpus": "0-3", "cpuset/" + pods + "/cpuset.cpus": "0-3", "cpuset/" + pods + "/cpuset.mems": "0",
	}
	for name, test := range map[string]struct {
		host  map[string]string // its files
		files map[string]string // some of those that are there then
		own   string            // the one group with the process
		fails string            // part of the error
	}{
		"v2": {
			host: v2(all, all), own: top + "/node",
			files: map[string]string{"cgroup.subtree_control": delegated, top + "/cgroup.subtree_control": delegated},
		},
		"v2 without huge pages": {
			host: v2("cpu cpuset memory pids", "cpu cpuset memory pids"), own: top + "/node",
			files: map[string]string{"cgroup.subtree_control": "+cpu +cpuset +memory +pids"},
		},
		"v2 without memory":                    {host: v2("cpuset cpu pids", ""), fails: "has no controller memory"},
		"v2 whose controllers end at the root": {host: v2(all, "cpu"), fails: top + " has no controller cpuset"},
		"v2 that refuses":                      {host: map[string]string{"cgroup.controllers": all, "cgroup.subtree_control/x": ""}, fails: "cgroup.subtree_control"},
		"v1":                                   {host: withPids("pids"), own: "pids/" + top + "/node", files: inherited},
		"v1 with pids and another":             {host: withPids("misc,pids"), own: "misc,pids/" + top + "/node", files: inherited},
		"v1 without pids":                      {host: v1, fails: "has no controller pids"},
		"v1 that refuses":                      {host: map[string]string{"cpuset/cpuset.cpus": "0", "cpuset/" + top + "/cpuset.cpus/x": ""}, fails: top + "/cpuset.cpus"},
	} {
		t.Run(name, func(t *testing.T) {
			mount := t.TempDir()
			for file, text := range test.host {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(mount, file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(mount, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := n.makeCgroups(mount, 42)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("the error is %v, want one with %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(test.files)
			want[test.own+"/cgroup.procs"] = "42"
			for file, text := range want {
				if got, err := os.ReadFile(filepath.Join(mount, file)); string(got) != text {
					t.Errorf("%s is %q, %v; want %q", file, got, err, text)
				}
			}
			trees, err := cgroupTrees(mount)
			if err != nil {
				t.Fatal(err)
			}
			for _, tree := range trees {
				if _, err := os.Stat(filepath.Join(tree, pods)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
