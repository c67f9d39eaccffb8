package watch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// built are the suffixes of what go build reads in a package's folder.
var built = []string{
	".go", ".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".s", ".S", ".sx", ".swig", ".swigcxx", ".syso",
	"go.mod", "go.sum", "go.work",
}

// includes tells whether path is part of what the function is made of.
func (t Target) includes(path string) bool {
	if t.Dir != "" && within(t.Dir, path) && !isManifest(path) {
		return true
	}
	folder := filepath.Dir(path)
	if slices.Contains(t.Folders, folder) {
		goSource := slices.ContainsFunc(built, func(end string) bool { return strings.HasSuffix(path, end) })
		return goSource && !strings.HasSuffix(path, "_test.go") || slices.Contains(t.Files, path)
	}
	return slices.ContainsFunc(t.Files, func(file string) bool { return filepath.Dir(file) == folder })
}

// needs tells whether something the function is made of lies in folder.
func (t Target) needs(folder string) bool {
	inside := func(path string) bool { return within(folder, path) }
	return slices.ContainsFunc(t.Folders, inside) || slices.ContainsFunc(t.Files, inside)
}

func isManifest(path string) bool {
	extension := filepath.Ext(path)
	return extension == ".yaml" || extension == ".yml"
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (w *Watcher) underRoot(path string) bool {
	return slices.ContainsFunc(w.config.Roots, func(root string) bool { return within(root, path) })
}

// wanted tells whether a change in folder may count.
func (w *Watcher) wanted(folder string) bool {
	return w.underRoot(folder) || slices.ContainsFunc(w.targets, func(t Target) bool {
		return t.Dir != "" && within(t.Dir, folder) || t.needs(folder)
	})
}

// ignored tells whether nothing counts at path. Only names below a root are
// looked at, or else the last: where a checkout lies is nobody's choice.
func (w *Watcher) ignored(path string) bool {
	if slices.ContainsFunc(w.config.Ignore, func(folder string) bool { return within(folder, path) }) {
		return true
	}
	below := filepath.Base(path)
	for _, root := range w.config.Roots {
		if relative, err := filepath.Rel(root, path); err == nil && path != root && within(root, path) {
			below = relative
		}
	}
	for name := range strings.SplitSeq(below, string(filepath.Separator)) {
		switch {
		case name == "__pycache__", name == "node_modules", name == "4913": // the last is how vim tries a folder
			return true
		case strings.HasPrefix(name, "."), strings.HasPrefix(name, "#"), strings.HasSuffix(name, "~"):
			return true
		}
	}
	return false
}

func within(folder, path string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(folder, string(filepath.Separator)))
	return ok && (rest == "" || rest[0] == filepath.Separator)
}

// addRoot watches a folder and all below it; of a single file, its folder, since
// editors replace files.
func (w *Watcher) addRoot(root string) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		root = filepath.Dir(root)
	}
	if err := w.files.Add(root); err != nil {
		return err
	}
	if info.IsDir() {
		w.addTree(root)
	}
	return nil
}

// addTree watches folder and those below it in which something may count, and
// returns the files there.
func (w *Watcher) addTree(folder string) (files []string) {
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, _ error) error {
		switch {
		case entry == nil: // it went again; what cannot be read has nothing that counts
		case entry.IsDir() && path != folder && (w.ignored(path) || !w.wanted(path)):
			return filepath.SkipDir
		case entry.IsDir() && w.wanted(path):
			w.add(path)
		case !entry.IsDir() && !w.ignored(path):
			files = append(files, path)
		}
		return nil
	})
	return files
}

// addTarget watches the folders that a target names, and returns the files there.
func (w *Watcher) addTarget(target Target) (files []string) {
	if target.Dir != "" {
		files = w.addTree(target.Dir)
	}
	for _, file := range target.Files {
		w.add(filepath.Dir(file))
		files = append(files, file)
	}
	for _, folder := range target.Folders {
		w.add(folder)
		if parent := filepath.Dir(folder); slices.ContainsFunc(target.Folders, func(f string) bool { return within(f, parent) }) {
			w.add(parent) // sees the folder go and come back
		}
		entries, _ := os.ReadDir(folder) // one that has gone has nothing
		for _, entry := range entries {
			files = append(files, filepath.Join(folder, entry.Name()))
		}
	}
	return files
}

// newer tells whether one of files belongs to the target and was written after
// Since. A file that claims to be from the future is not believed.
func (w *Watcher) newer(target Target, files []string) bool {
	now := time.Now()
	return !target.Since.IsZero() && slices.ContainsFunc(files, func(file string) bool {
		if !target.includes(file) || w.ignored(file) {
			return false
		}
		info, err := os.Stat(file)
		return err == nil && !info.IsDir() && info.ModTime().After(target.Since) && !info.ModTime().After(now)
	})
}

// add watches one folder, if it exists.
func (w *Watcher) add(folder string) {
	switch err := w.files.Add(folder); {
	case err == nil:
		w.folders[folder] = true
	case !os.IsNotExist(err) && !errors.Is(err, fsnotify.ErrClosed):
		w.config.Logger.Warn("folder not watched", "folder", folder, "error", err)
	}
}
