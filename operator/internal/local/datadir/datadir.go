// Package datadir is the data folder of `serviceful dev`: one program at a time
// uses it, and it remembers which Function came first.
//
// It owns the lock, the file of ages and the socket. It knows nothing of what else is in
// the folder, and imports names only.
package datadir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// Dir is a data folder that this process holds.
type Dir struct {
	path string
	lock *os.File
}

// Open makes the folder where it is missing and locks it. The lock goes with
// the process, however that ends.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolving the data folder: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the data folder's lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer lock.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking the data folder %s: %w", path, err)
		}
		holder, _ := os.ReadFile(lock.Name()) // for the message only
		return nil, fmt.Errorf("the data folder %s is in use by another process (pid %s); end it, or choose another with --data",
			path, strings.TrimSpace(string(holder)))
	}
	d := &Dir{path: path, lock: lock}
	if err := lock.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(lock, os.Getpid()) // for the message only
	}
	return d, nil
}

// Path is a file or folder in the data folder, as an absolute path.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Close gives the folder up.
func (d *Dir) Close() error { return d.lock.Close() }

// agesFile holds when each Function was first seen: what a cluster knows by
// creationTimestamp.
const agesFile = "functions.json"

// Ages are the times at which the given Functions were first seen in this
// folder: now for those that are new. One that is gone is forgotten, as a
// deleted one is in a cluster.
func (d *Dir) Ages(functions []names.Function, now time.Time) (map[names.Function]time.Time, error) {
	out, err := ReadAges(d.path, functions, now)
	if err != nil {
		return nil, err
	}
	kept := make(map[string]time.Time, len(out))
	for f, at := range out {
		kept[f.String()] = at
	}
	data, err := json.MarshalIndent(kept, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the ages of functions: %w", err)
	}
	return out, d.write(agesFile, data)
}

// ReadAges are the Ages in a folder that another process may hold, and that need
// not be there. Nothing is written.
func ReadAges(path string, functions []names.Function, now time.Time) (map[names.Function]time.Time, error) {
	known := map[string]time.Time{}
	file := filepath.Join(path, agesFile)
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the ages of functions in %s: %w; remove the file to begin anew", file, err)
	}
	out := make(map[names.Function]time.Time, len(functions))
	for _, f := range functions {
		at, ok := known[f.String()]
		if !ok {
			at = now
		}
		out[f] = at
	}
	return out, nil
}

// write replaces a file as a whole, or leaves it as it was.
func (d *Dir) write(name string, data []byte) error {
	path := d.Path(name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// Socket is where the program that holds a data folder lets others of the same
// user in. It is relative where that is shorter: the path of a socket has 100
// bytes.
func Socket(path string) string {
	socket := filepath.Join(path, "nats.sock")
	full, err := filepath.Abs(socket)
	if err != nil {
		return socket
	}
	here, err := os.Getwd()
	if err != nil {
		return full
	}
	if relative, err := filepath.Rel(here, full); err == nil && len(relative) < len(full) {
		return relative
	}
	return full
}

// Listen opens the folder's Socket, for the same user alone. What a program that
// was killed has left there is replaced: the folder's lock says that none runs.
// It goes when the listener is closed.
func (d *Dir) Listen(ctx context.Context) (net.Listener, error) {
	socket := Socket(d.path)
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing what an earlier program has left: %w", err)
	}
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// What is made of it has this mode from the beginning; not so on every system.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
	}}
	l, err := private.Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("opening the data folder's socket: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("making the data folder's socket private: %w", err)
	}
	return l, nil
}
