package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// victim is a container that is to be killed.
type victim struct {
	namespace, pods string // a label selector
	container       string
	// repeats is how many messages a kill may have handled once more, besides what
	// is in flight at the worker.
	repeats func(settled int) int
}

// TestKill kills, under load and one after the other, the main process of each
// part with SIGKILL. Everything that was accepted is handled or dead.
func TestKill(t *testing.T) {
	s := newSpace(t)
	r := newRecorder(t)
	s.apply(s.stub("worker", workerRest, "RECORDER="+r.url)+s.stub("source", sourceRest), "worker", "source")
	l := newLoad(s)
	l.messages()
	l.goesOn(r)

	part := func(name string) victim {
		return victim{namespace: system, pods: "app.kubernetes.io/part-of=serviceful,app.kubernetes.io/name=" + name, container: name}
	}
	function := func(name string) victim {
		return victim{namespace: s.name, pods: "serviceful.dev/function=" + name, container: "user-container"}
	}
	nats := part("nats")
	// NATS writes down what a consumer has settled a moment after it did, and an
	// event stays in its log, so those settled just before are delivered again.
	nats.repeats = func(settled int) int { return settled }
	allowed := 0
	for _, v := range []victim{part("dispatcher"), part("gateway"), part("operator"), nats, function("worker"), function("source")} {
		before := len(r.counts())
		l.goesOn(r)
		allowed += workerInFlight
		if v.repeats != nil {
			allowed += v.repeats(len(r.counts()) - before)
		}
		s.kill(v)
		l.goesOn(r)
	}
	if n := l.delivered(r); n > allowed {
		t.Errorf("%d messages were handled again, more than the %d that the kills explain", n, allowed)
	}
	s.eventually("the status counts the dead letters", func() bool {
		dead := s.kubectl("", "-n", s.name, "get", "function", "worker", "-o", `jsonpath={.status.triggers[?(@.name=="doomed")].dead}`)
		return strings.TrimSpace(dead) == strconv.Itoa(len(s.dead("doomed")))
	})
}

// containerState is what the kubelet says of a container.
type containerState struct {
	pod, id  string
	restarts int
	ready    bool
}

// container is the one of a victim that runs.
func (s *space) container(v victim) (containerState, error) {
	s.Helper()
	var pods struct {
		Items []struct {
			Metadata struct {
				Name              string
				DeletionTimestamp string
			}
			Status struct {
				ContainerStatuses []struct {
					Name, ContainerID string
					RestartCount      int
					Ready             bool
				}
			}
		}
	}
	out := s.kubectl("", "-n", v.namespace, "get", "pods", "-l", v.pods, "-o", "json")
	if err := json.Unmarshal([]byte(out), &pods); err != nil {
		return containerState{}, err
	}
	for _, pod := range pods.Items {
		for _, c := range pod.Status.ContainerStatuses {
			if id := strings.TrimPrefix(c.ContainerID, "containerd://"); c.Name == v.container && id != "" && pod.Metadata.DeletionTimestamp == "" {
				return containerState{pod: pod.Metadata.Name, id: id, restarts: c.RestartCount, ready: c.Ready}, nil
			}
		}
	}
	return containerState{}, fmt.Errorf("no container %s runs in a pod with %s", v.container, v.pods)
}

// kill sends SIGKILL to every process of a container and waits until the kubelet
// has started it again in the same pod.
func (s *space) kill(v victim) {
	s.Helper()
	before, err := s.container(v)
	if err != nil {
		s.Fatal(err)
	}
	pids := s.processes(before.id)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			s.Fatalf("killing process %d of %s: %v", pid, v.container, err)
		}
	}
	s.eventually(v.container+" runs again", func() bool {
		now, err := s.container(v)
		return err == nil && now.ready && now.pod == before.pod && now.id != before.id && now.restarts > before.restarts
	})
	s.Logf("%s: killed %d, in %s", time.Now().Format(time.TimeOnly), pids, before.pod)
}

// processes are those of a container, by their ids on this machine: the node
// shares its cgroups, each container in one of its own.
func (s *space) processes(container string) []int {
	s.Helper()
	tree := "/sys/fs/cgroup"
	if _, err := os.Stat(tree + "/pids"); err == nil {
		tree += "/pids" // cgroup v1: one tree for each controller
	}
	var pids []int
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, _ error) error {
		if d == nil || d.Name() != container { // others come and go meanwhile
			return nil
		}
		procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, field := range strings.Fields(string(procs)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	if len(pids) == 0 {
		s.Fatalf("container %s has no process", container)
	}
	return pids
}
