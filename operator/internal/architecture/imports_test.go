package architecture

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../../.."
	module = "github.com/serviceful/serviceful/"
)

// source is one Go file of the module.
type source struct {
	pkg  string // below the module
	test bool
	file *ast.File
	at   func(ast.Node) string
}

func (s source) imports() (paths []string) {
	for _, i := range s.file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, path)
	}
	return paths
}

func sources(t *testing.T) (out []source) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			_, own := os.Stat(filepath.Join(path, "go.mod"))
			if path != root && own == nil || strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata" {
				return filepath.SkipDir // another module, a hidden folder, or no code
			}
			return nil
		case filepath.Ext(path) != ".go":
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		out = append(out, source{
			pkg: filepath.ToSlash(dir), test: strings.HasSuffix(path, "_test.go"), file: file,
			at: func(n ast.Node) string { return strings.TrimPrefix(files.Position(n.Pos()).String(), root+"/") },
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImports(t *testing.T) {
	count := 0
	for _, s := range sources(t) {
		if place(s.pkg) == "" {
			if !s.test {
				t.Errorf("package %s has no place: add it to rooms in operator/internal/architecture/rules_test.go, in the layer that it belongs to, and to the rooms of docs/architecture.md", s.pkg)
			}
			continue
		}
		for i, path := range s.imports() {
			why := ""
			if s.test && !strings.HasPrefix(s.pkg, "functions") {
				continue // a test may use a real neighbour, whatever the layer
			}
			if own, ok := strings.CutPrefix(path, module); ok {
				why = forbidden(s.pkg, own, s.test)
				count++
			} else if !s.test {
				why = foreign(s.pkg, path)
			}
			if why != "" {
				t.Errorf("%s: %s (%s) may not import %s: %s", s.at(s.file.Imports[i]), s.pkg, place(s.pkg), path, why)
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d imports were found", count)
	}
}

// TestThinkUsesValues has api and think use nothing that acts or asks for the
// time.
func TestThinkUsesValues(t *testing.T) {
	for _, s := range sources(t) {
		if l := place(s.pkg); s.test || l != api && l != think {
			continue
		}
		named := map[string]string{}
		for i, path := range s.imports() {
			local := path[strings.LastIndexByte(path, '/')+1:]
			if n := s.file.Imports[i].Name; n != nil {
				local = n.Name
			}
			named[local] = path
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := selector.X.(*ast.Ident); ok {
				if allowed := values[named[x.Name]]; allowed != nil && !allowed.MatchString(selector.Sel.Name) {
					t.Errorf("%s: %s uses %s.%s: %s", s.at(n), s.pkg, x.Name, selector.Sel.Name, rules[think].why)
				}
			}
			return true
		})
	}
}

// TestRoomsAreDescribed has docs/architecture.md name every package.
func TestRoomsAreDescribed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range sources(t) {
		l := place(s.pkg)
		if s.test || seen[s.pkg] || l == testkit || l == functions || l == tools {
			continue
		}
		seen[s.pkg] = true
		if !strings.Contains(string(text), "`"+s.pkg+"`") {
			t.Errorf("docs/architecture.md has no room `%s`", s.pkg)
		}
	}
}

// TestRules has the rules refuse what they are for.
func TestRules(t *testing.T) {
	const in = "operator/internal/"
	tests := map[string]struct {
		from, to string
		test     bool
		want     string // in the reason; "": allowed
	}{
		"down":                         {in + "gateway", in + "bus", false, ""},
		"think touches":                {in + "wiring", in + "bus", false, "as an argument"},
		"think, not counted":           {in + "names", in + "event", false, "thoughts"},
		"think, counted":               {in + "wiring", in + "names", false, ""},
		"one thing, another":           {in + "invoke", in + "bus", false, "one outside thing"},
		"a loop, another":              {in + "gateway", in + "dispatch", false, "meet in NATS"},
		"a loop, a world":              {in + "dispatch", in + "local/process", false, "interface"},
		"a world, a loop":              {in + "local/process", in + "gateway", false, "cmd"},
		"upward":                       {in + "serve", "operator/cmd/serviceful", false, "one outside thing"},
		"the kind":                     {"operator/api/v1alpha1", in + "names", false, "the kind"},
		"testkit":                      {in + "bus", in + "testkit/natstest", false, "one outside thing"},
		"testkit in a program":         {"operator/cmd/serviceful", in + "testkit/natstest", false, "for tests"},
		"testkit in a test":            {in + "bus", in + "testkit/natstest", true, ""},
		"a function, the platform":     {"functions/offers", "operator/api/v1alpha1", false, "speaks HTTP"},
		"even in a test":               {"functions/offers", in + "testkit/natstest", true, "speaks HTTP"},
		"a function, the client":       {"functions/offers", "functions/serviceful", false, ""},
		"a function, another":          {"functions/offers", "functions/membership", false, "share nothing"},
		"a function, its tests' help":  {"functions/offers", "functions/serviceful/servicefultest", false, "for tests"},
		"NATS":                         {in + "gateway", "github.com/nats-io/nats.go", false, "only operator/internal/bus"},
		"NATS in bus":                  {in + "bus", "github.com/nats-io/nats.go/jetstream", false, ""},
		"think, the system":            {in + "wiring", "os", false, "as an argument"},
		"think, the network":           {in + "wiring", "net/netip", false, "as an argument"},
		"think, a client":              {in + "event", "net/http/httputil", false, "as an argument"},
		"think, values of HTTP":        {in + "event", "net/http", false, ""},
		"think, chance":                {in + "delivery", "math/rand/v2", false, "as an argument"},
		"think, mathematics":           {in + "delivery", "math", false, ""},
		"metrics, a loop":              {in + "metrics", in + "gateway", false, ""},
		"metrics, a world":             {in + "metrics", in + "kube", false, "whatever the world"},
		"a loop, metrics":              {in + "gateway", in + "metrics", false, "interface"},
		"a loop, Prometheus":           {in + "dispatch", "github.com/prometheus/client_golang/prometheus", false, "does not know by what"},
		"a program, Prometheus":        {"operator/cmd/gateway", "github.com/prometheus/client_golang/prometheus", false, "of its own"},
		"a program, what two share":    {"operator/cmd/gateway", "operator/cmd/internal/dataplane", false, ""},
		"the cluster":                  {in + "controller", "sigs.k8s.io/controller-runtime/pkg/client", false, ""},
		"the cluster, in a door":       {in + "gateway", "k8s.io/client-go/rest", false, "without a cluster"},
		"the cluster, in a thought":    {in + "render", "sigs.k8s.io/controller-runtime/pkg/client", false, "without a cluster"},
		"Knative's kinds":              {in + "render", "knative.dev/serving/pkg/apis/serving/v1", false, ""},
		"Knative's kinds, in a door":   {in + "gateway", "knative.dev/serving/pkg/apis/serving/v1", false, "the world's to know"},
		"processes, outside the world": {in + "gateway", "os/exec", false, "laptop's world"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			why := forbidden
			if place(test.to) == "" {
				why = func(from, to string, _ bool) string { return foreign(from, to) }
			}
			if got := why(test.from, test.to, test.test); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("the reason is %q, want one with %q", got, test.want)
			}
		})
	}
	if place("operator/internal/util") != "" || place("operator/internal") != "" {
		t.Error("a package that nobody placed has a place")
	}
}
