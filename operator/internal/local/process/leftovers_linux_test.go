package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// leave starts a process in a group of its own, as a run that is killed now
// would leave it, with token in its environment.
func leave(t *testing.T, files runFiles, token string) *exec.Cmd {
	t.Helper()
	left := exec.Command(os.Args[0])
	left.Env = append(os.Environ(), "FUNCTION=deaf", tokenVariable+token)
	left.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = left.Process.Kill()
		_ = left.Wait()
	})
	if err := files.writeToken("secret"); err != nil {
		t.Fatal(err)
	}
	if err := files.writePID(left.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return left
}

func TestLeftoversAreKilled(t *testing.T) {
	dir := t.TempDir()
	p := &Processes{runDir: filepath.Join(dir, "run")}
	files := p.runFiles(offers, 20001)
	left := leave(t, files, files.token)
	newWorldIn(t, dir, 0)
	if state, err := left.Process.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the leftover ended with %v, %v", state, err)
	}
	if _, err := os.Stat(files.token); !os.IsNotExist(err) {
		t.Errorf("its token is still there: %v", err)
	}
}

// A process id is used again one day, by a process that is not ours.
func TestStrangersAreSpared(t *testing.T) {
	dir := t.TempDir()
	p := &Processes{runDir: filepath.Join(dir, "run")}
	stranger := leave(t, p.runFiles(offers, 20002), "/somebody/else")
	newWorldIn(t, dir, 0)
	if !exists(stranger.Process.Pid) {
		t.Error("a stranger was killed")
	}
}

func TestSpoiltRunFiles(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "words": "x", "init": "1", "everyone": "-1", "own group": "0"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := &Processes{runDir: filepath.Join(dir, "run")}
			files := p.runFiles(offers, 20003)
			if err := files.writeToken("secret"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(files.pid, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			newWorldIn(t, dir, 0)
		})
	}
}

func TestTheGroupEndsWithItsLeader(t *testing.T) {
	w := newWorld(t)
	p := program("serve")
	file := filepath.Join(t.TempDir(), "pid")
	p.Argv = []string{"sh", "-c", `sleep 1000 & echo -n $! > "` + file + `"; exec "$0"`, p.Argv[0]}
	w.Set(offers, p)
	w.acquire(t, offers).Release()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	w.stop(t.Context())
	eventually(t, "the child's child ends", func() bool { return !runs(pid) })
}

// runs is false for a process that ended and that nobody has reaped yet.
func runs(pid int) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	return err == nil && len(line) > 0
}

// TestHost is the parent that the next test kills: it runs a function and tells
// its process id.
func TestHost(t *testing.T) {
	dir := os.Getenv("HOST_DIR")
	if dir == "" {
		t.Skip("run by TestFunctionsDieWithAKilledParent")
	}
	w := newWorldIn(t, dir, 0)
	w.Set(offers, program("serve"))
	w.acquire(t, offers)
	fmt.Println(w.Running()[0].PID)
	select {}
}

func TestFunctionsDieWithAKilledParent(t *testing.T) {
	host := exec.Command(os.Args[0], "-test.run=^TestHost$")
	host.Env = append(os.Environ(), "HOST_DIR="+t.TempDir())
	host.Stderr = os.Stderr
	stdout, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscanln(stdout, &pid)
	if killed := host.Process.Kill(); err != nil || killed != nil {
		t.Fatal(err, killed)
	}
	_ = host.Wait()
	eventually(t, "the function ends", func() bool { return !runs(pid) })
}
