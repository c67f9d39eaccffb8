package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// failure is what a go command had to say.
type failure struct {
	detail string   // its first message
	lines  []string // its first lines, at most maxLines
}

const maxLines = 20

// goBuild builds packages into the folder out, as ko does: without cgo unless it
// is asked for. The version control's state is left out, because a commit must
// not make a new program.
func (b *Builder) goBuild(ctx context.Context, root, out string, packages []string) *failure {
	args := append([]string{"build", "-buildvcs=false", "-o", out + string(filepath.Separator), "--"}, packages...)
	_, failed := b.goCommand(ctx, root, args)
	return failed
}

// goCommand runs go in the module at root and returns its standard output.
func (b *Builder) goCommand(ctx context.Context, root string, args []string) ([]byte, *failure) {
	b.commands <- struct{}{}
	defer func() { <-b.commands }()
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = root
	command.Env = append([]string{"CGO_ENABLED=0"}, os.Environ()...) // the later counts
	command.Env = append(command.Env, "PWD="+root)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // it removes its work folder
	command.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, &failure{detail: fmt.Sprintf("running go %s: %v", args[0], ctx.Err())}
	}
	failed := &failure{detail: fmt.Sprintf("running go %s: %v", args[0], err)}
	for line := range strings.Lines(stderr.String()) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "# ") || len(failed.lines) == maxLines { // "# <import path>"
			continue
		}
		if len(failed.lines) == 0 {
			failed.detail = line
		}
		failed.lines = append(failed.lines, line)
	}
	return nil, failed
}

// Sources is what one target's program is made of, apart from other modules.
type Sources struct {
	// Folders of the packages, and of their modules' go.mod.
	Folders []string
	// Embedded are the files that the packages embed.
	Embedded []string
}

// listed is the part of go list's answer that is used.
type listed struct {
	ImportPath string
	Dir        string
	Deps       []string
	EmbedFiles []string
	Module     *struct {
		Dir     string
		Main    bool
		Replace *struct{ Version string }
	}
}

// local tells whether the package is edited here: in a main module, or in one
// that is replaced by a folder.
func (l listed) local() bool {
	return l.Module != nil && (l.Module.Main || l.Module.Replace != nil && l.Module.Replace.Version == "")
}

// Sources lists the sources of targets. It answers, as far as it can, also for
// packages that do not compile, and with an error.
func (b *Builder) Sources(ctx context.Context, targets []Target) (map[names.Function]Sources, error) {
	all := map[names.Function]Sources{}
	var failed error
	for _, g := range groups(targets) {
		packages, err := b.list(ctx, g)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("listing the sources in %s: %w", g.root, err))
			continue
		}
		for _, target := range g.targets {
			all[target.Function] = sources(packages, target.Package)
		}
	}
	return all, failed
}

// list returns the local packages that a group is made of, by import path.
func (b *Builder) list(ctx context.Context, g group) (map[string]listed, error) {
	args := append([]string{"list", "-e", "-deps", "-json=ImportPath,Dir,Deps,EmbedFiles,Module", "--"}, g.packages()...)
	text, failed := b.goCommand(ctx, g.root, args)
	if failed != nil {
		return nil, errors.New(failed.detail)
	}
	packages := map[string]listed{}
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var l listed
		if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading go list's answer: %w", err)
		}
		if l.local() {
			packages[l.ImportPath] = l
		}
	}
}

func sources(packages map[string]listed, pkg string) Sources {
	var s Sources
	for _, name := range append(packages[pkg].Deps, pkg) {
		l, ok := packages[name]
		if !ok {
			continue
		}
		s.Folders = append(s.Folders, l.Dir, l.Module.Dir)
		for _, file := range l.EmbedFiles {
			s.Embedded = append(s.Embedded, filepath.Join(l.Dir, file))
		}
	}
	slices.Sort(s.Folders)
	s.Folders = slices.Compact(s.Folders)
	return s
}
