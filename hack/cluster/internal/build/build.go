// Package build makes the cluster's programs from Go modules. Each is kept in a
// folder named by all that it is made of, so that it is built once. It knows
// nothing of what the programs do, and imports nothing of this module.
package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Builder builds programs from Source/parts and keeps them in Cache.
type Builder struct {
	Source string
	Cache  string
	Out    io.Writer // where progress is told
}

// Build returns one folder with every program in it, by name; those that are
// not kept yet are built, one after another.
func (b Builder) Build(ctx context.Context, programs []Program) (string, error) {
	all := sha256.New()
	paths := make(map[string]string, len(programs))
	var missing []Program
	for _, p := range programs {
		path, err := b.path(p)
		if err != nil {
			return "", fmt.Errorf("reading the sources of %s: %w", p.Name, err)
		}
		paths[p.Name] = path
		fmt.Fprintln(all, path)
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		release, err := b.lock()
		if err != nil {
			return "", fmt.Errorf("waiting for another build: %w", err)
		}
		defer release()
	}
	for i, p := range missing {
		if _, err := os.Stat(paths[p.Name]); err == nil {
			continue // the other build made it
		}
		start := time.Now()
		fmt.Fprintf(b.Out, "building %s (%d/%d) ... ", p.Name, i+1, len(missing))
		if err := b.compile(ctx, p, paths[p.Name]); err != nil {
			fmt.Fprintln(b.Out, "failed")
			return "", fmt.Errorf("building %s: %w", p.Name, err)
		}
		fmt.Fprintln(b.Out, time.Since(start).Round(time.Second))
	}
	return b.gather(hex.EncodeToString(all.Sum(nil))[:12], paths)
}

// lock waits until no other process builds: two would only slow each other down.
func (b Builder) lock() (release func(), err error) {
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(b.Cache, "lock"))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

// gather puts a link to each program into one folder.
func (b Builder) gather(key string, paths map[string]string) (string, error) {
	folder := filepath.Join(b.Cache, "sets", key)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	for name, path := range paths {
		if err := os.Symlink(path, filepath.Join(folder, name)); err != nil && !os.IsExist(err) {
			return "", err
		}
	}
	return folder, nil
}

// path is where a program is kept: its name and a hash of all that it is made
// of. The modules it requires are in that hash by way of go.sum.
func (b Builder) path(p Program) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH, p, flags(p))
	files, err := filepath.Glob(filepath.Join(b.Source, "parts", p.Part, "*"))
	if err != nil {
		return "", err
	}
	slices.Sort(files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %x\n", filepath.Base(file), sha256.Sum256(content))
	}
	return filepath.Join(b.Cache, "programs", hex.EncodeToString(h.Sum(nil))[:12], p.Name), nil
}

func flags(p Program) []string {
	return []string{"-mod=readonly", "-buildvcs=false", "-trimpath", "-tags=" + p.Tags, "-ldflags=-s -w " + p.LDFlags}
}

// compile builds beside path and renames, so that a build cut short leaves
// nothing that would be taken for the program.
func (b Builder) compile(ctx context.Context, p Program, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(part)
	args := append([]string{"-n", "10", "go", "build"}, flags(p)...)
	cmd := exec.CommandContext(ctx, "nice", append(args, "-o", part, p.Package)...)
	cmd.Dir = filepath.Join(b.Source, "parts", p.Part)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(out)))
	}
	return os.Rename(part, path)
}

// ModuleFolder returns where the source of a module that a part requires is.
func (b Builder) ModuleFolder(ctx context.Context, part, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = filepath.Join(b.Source, "parts", part)
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("fetching module %s: %w", module, err)
	}
	var fetched struct{ Dir string }
	if err := json.Unmarshal(out, &fetched); err != nil {
		return "", fmt.Errorf("reading where module %s is: %w", module, err)
	}
	return fetched.Dir, nil
}
