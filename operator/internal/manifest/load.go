package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// maxFileBytes is the largest manifest read; the API server takes no larger request.
const maxFileBytes = 3 << 20

// Load reads every Function in the *.yaml and *.yml files under the folders,
// in the folders' order, then by path. Hidden folders, node_modules and vendor
// are skipped, other kinds are ignored, a file that is reached twice is read
// once. A folder may also be a single file.
//
// A Function with a problem is not among the functions. When a namespace and
// name occur twice, the first is kept and the second is the problem.
func (v *Validator) Load(dirs ...string) (functions []*Manifest, problems []Problem) {
	files, problems := list(dirs)
	first := map[names.Function]*Manifest{}
	for _, file := range files {
		found, refused := v.readFile(file)
		problems = append(problems, refused...)
		for _, m := range found {
			if other := first[m.Name()]; other != nil {
				problems = append(problems, duplicate(m, other))
				continue
			}
			first[m.Name()] = m
			functions = append(functions, m)
		}
	}
	return functions, problems
}

func duplicate(m, other *Manifest) Problem {
	return Problem{File: m.File, Line: m.Line, Field: "metadata.name", Function: m.Name(),
		Message: fmt.Sprintf("Function %s is already in %s:%d", m.Name(), other.File, other.Line)}
}

// list finds the manifest files under the folders, each once.
func list(dirs []string) (files []string, problems []Problem) {
	seen := map[string]bool{}
	for _, dir := range dirs {
		found, err := walk(dir)
		if err != nil {
			problems = append(problems, Problem{File: dir, Message: reason(err)})
		}
		for _, file := range found {
			if absolute, err := filepath.Abs(file); err == nil && !seen[absolute] {
				seen[absolute] = true
				files = append(files, file)
			}
		}
	}
	return files, problems
}

// walk lists the manifest files under one folder. What it finds before an error is kept.
func walk(dir string) (files []string, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{dir}, nil
	}
	// The separator makes WalkDir follow a folder that is a symbolic link.
	root := dir + string(filepath.Separator)
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && skipped(entry.Name()):
			return filepath.SkipDir
		case entry.Type().IsRegular() && isManifest(path):
			files = append(files, filepath.Clean(path))
		}
		return nil
	})
	return files, err
}

func skipped(folder string) bool {
	return strings.HasPrefix(folder, ".") || folder == "node_modules" || folder == "vendor"
}

func isManifest(path string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path))
}

// readFile reads the Functions of one file.
func (v *Validator) readFile(file string) ([]*Manifest, []Problem) {
	info, err := os.Stat(file)
	if err == nil && info.Size() > maxFileBytes {
		err = fmt.Errorf("the file has %d bytes, more than %d", info.Size(), maxFileBytes)
	}
	if err != nil {
		return nil, []Problem{{File: file, Message: reason(err)}}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, []Problem{{File: file, Message: reason(err)}}
	}
	return v.read(file, data)
}

// read reads the Functions of a file's content.
func (v *Validator) read(file string, data []byte) (functions []*Manifest, problems []Problem) {
	for _, part := range split(data) {
		found, refused := v.document(file, part)
		slices.SortFunc(refused, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
		})
		problems = append(problems, refused...)
		functions = append(functions, found...)
	}
	return functions, problems
}

// reason is an error without the path, which the problem already names.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
