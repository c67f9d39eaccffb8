package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// inNamespace is set for the copy of the test that may mount.
const inNamespace = "SERVICEFUL_TEST_MOUNTS"

// TestFullDisk runs testdata/disk, in whose scripts the folder data is a disk of
// 16 MiB. It mounts it in a namespace of its own, so that nothing is left.
func TestFullDisk(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), inNamespace+"=yes")
		again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		output, err := again.CombinedOutput()
		switch {
		case errors.Is(err, fs.ErrPermission):
			t.Skip("a mount namespace needs root")
		case err != nil:
			t.Fatalf("%v\n%s", err, output)
		case strings.Contains(string(output), "--- SKIP"):
			t.Skipf("%s", output)
		}
		return
	}
	params := scriptParams(filepath.Join("testdata", "disk"))
	params.Setup = func(e *testscript.Env) error {
		disk := filepath.Join(e.WorkDir, "data")
		if err := os.Mkdir(disk, 0o700); err != nil {
			return err
		}
		if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
			e.T().Skip(fmt.Sprintf("mounting a disk: %v", err))
		}
		e.Defer(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
		return setupScript(e)
	}
	testscript.Run(t, params)
}
