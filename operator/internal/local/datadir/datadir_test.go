package datadir

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// holder, in the environment, is the folder that this test binary is to hold
// until it is killed.
const holder = "DATADIR_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holder); path != "" {
		if _, err := Open(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

// hold starts a process that holds a folder, and returns how to kill it.
func hold(t *testing.T, path string) (pid int, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holder+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd.Process.Pid, kill
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// TestOneAtATime checks that a folder is one process's, that another one is told
// whose, and that the lock goes with the process.
func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	for range 3 { // the pid in the lock is the last holder's
		pid, kill := hold(t, path)
		d, err := Open(path)
		if err == nil {
			d.Close()
			t.Fatal("a second process holds the folder")
		}
		for _, s := range []string{path, "in use by another process", fmt.Sprintf("(pid %d)", pid), "--data"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q does not say %q", err, s)
			}
		}
		kill()
		if d, err = Open(path); err != nil {
			t.Fatalf("after it was killed: %v", err)
		}
		d.Close()
	}
}

// TestSameProcess checks that a process cannot open a folder twice, and can
// after it has closed it.
func TestSameProcess(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(pid %d)", os.Getpid())) {
		t.Errorf("got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestOpen(t *testing.T) {
	t.Chdir(t.TempDir())
	d := open(t, filepath.Join("a", "b"))
	if want, _ := filepath.Abs(filepath.Join("a", "b", "c")); d.Path("c") != want {
		t.Errorf("Path: %s, want %s", d.Path("c"), want)
	}
	if info, err := os.Stat(filepath.Join("a", "b")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile("file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"file", filepath.Join("file", "data")} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "making the data folder") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// TestAges checks that what was first seen at a time stays of that age, over
// every start, until it is gone.
func TestAges(t *testing.T) {
	path := t.TempDir()
	offers, members := names.Function{Namespace: "coop", Name: "offers"}, names.Function{Namespace: "coop", Name: "members"}
	other := names.Function{Namespace: "shop", Name: "offers"}
	day := func(n int) time.Time { return time.Date(2030, 1, n, 1, 2, 3, 456789, time.UTC) }
	type ages = map[names.Function]time.Time
	steps := []struct {
		day       int
		functions []names.Function
		want      ages
	}{
		{1, nil, ages{}},
		{2, []names.Function{offers}, ages{offers: day(2)}},
		{3, []names.Function{members, offers}, ages{offers: day(2), members: day(3)}},
		{4, []names.Function{offers, members, other}, ages{offers: day(2), members: day(3), other: day(4)}},
		{5, []names.Function{members, other}, ages{members: day(3), other: day(4)}},
		{6, []names.Function{offers, other, members}, ages{offers: day(6), members: day(3), other: day(4)}},
	}
	for _, step := range steps {
		d := open(t, path)
		for range 2 { // asking changes nothing
			got, err := d.Ages(step.functions, day(step.day))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, step.want) {
				t.Errorf("day %d: %v, want %v", step.day, got, step.want)
			}
		}
		d.Close()
	}
	left, err := filepath.Glob(filepath.Join(path, "*.new"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %q, %v", left, err)
	}
}

// TestBadAges checks that a file that cannot be read or written is named, and is
// left as it is.
func TestBadAges(t *testing.T) {
	tests := map[string]string{"garbage": "not JSON", "empty": "", "cut off": `{"coop/offers": "2030`, "another form": `["coop/offers"]`, "no time": `{"coop/offers": "yesterday"}`}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			d := open(t, t.TempDir())
			if err := os.WriteFile(d.Path(agesFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := d.Ages([]names.Function{{Namespace: "coop", Name: "offers"}}, time.Now())
			if err == nil || !strings.Contains(err.Error(), d.Path(agesFile)) || !strings.Contains(err.Error(), "remove the file") {
				t.Errorf("got %v", err)
			}
			if left, _ := os.ReadFile(d.Path(agesFile)); string(left) != content {
				t.Errorf("the file is now %q", left)
			}
		})
	}
	d := open(t, t.TempDir())
	if err := os.Mkdir(d.Path(agesFile+".new"), 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	if _, err := d.Ages(nil, time.Now()); err == nil || !strings.Contains(err.Error(), "writing "+d.Path(agesFile)) {
		t.Errorf("got %v", err)
	}
}

// TestListen opens the socket of a folder that a killed program has held, for
// this user alone, and takes it away again.
func TestListen(t *testing.T) {
	for _, way := range []string{"absolute", "relative"} {
		t.Run(way, func(t *testing.T) {
			folder := t.TempDir()
			if way == "relative" {
				t.Chdir(folder)
				folder = "data"
			}
			d, err := Open(folder)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if err := os.WriteFile(Socket(folder), nil, 0o600); err != nil { // what was left
				t.Fatal(err)
			}
			l, err := d.Listen(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(d.Path("nats.sock"))
			if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != fs.ModeSocket {
				t.Errorf("the socket is %v, %v", info.Mode(), err)
			}
			c, err := net.Dial("unix", Socket(folder))
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(d.Path("nats.sock")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("closed, the socket is there: %v", err)
			}
		})
	}
}

// TestSocketIsShort has a folder far down be reached from within it: a socket's
// path may not be long.
func TestSocketIsShort(t *testing.T) {
	folder := filepath.Join(t.TempDir(), strings.Repeat("d/", 60), "data")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(folder))
	d, err := Open("data")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := d.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := Socket("data"); got != filepath.Join("data", "nats.sock") {
		t.Errorf("the socket is %q", got)
	}
}
