package build

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
)

// group is targets that one go command can build: they share a module, and no
// two of their packages give a program of the same name.
type group struct {
	root    string // the module's folder
	folder  string // where the programs go, below the build folder; the same at every run
	targets []Target
}

func (g group) packages() []string {
	var all []string
	for _, target := range g.targets {
		all = append(all, target.Package)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// fits tells whether target's program would replace another package's.
func (g group) fits(target Target) bool {
	return !slices.ContainsFunc(g.targets, func(have Target) bool {
		return have.Package != target.Package && executable(have.Package) == executable(target.Package)
	})
}

// groups parts targets, in an order that does not depend on theirs, so that a
// program is found where it was built last.
func groups(targets []Target) []group {
	targets = slices.Clone(targets)
	slices.SortFunc(targets, func(a, b Target) int {
		return cmp.Compare(a.Function.String(), b.Function.String())
	})
	var all []group
	count := map[string]int{}
	for _, target := range targets {
		root := moduleRoot(target.Dir)
		at := slices.IndexFunc(all, func(g group) bool { return g.root == root && g.fits(target) })
		if at < 0 {
			at = len(all)
			sum := sha256.Sum256([]byte(root))
			all = append(all, group{root: root, folder: fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:6]), count[root])})
			count[root]++
		}
		all[at].targets = append(all[at].targets, target)
	}
	return all
}

// moduleRoot is the nearest folder with a go.mod, or dir itself: the go command
// says then what is missing.
func moduleRoot(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Join(at, "go.mod")); err == nil && !info.IsDir() {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

var majorVersion = regexp.MustCompile(`^v([2-9]|[1-9][0-9]+)$`)

// executable is the name that go build gives the program of a package.
func executable(pkg string) string {
	dir, name := path.Split(pkg)
	if dir != "" && majorVersion.MatchString(name) {
		return path.Base(dir)
	}
	return name
}
