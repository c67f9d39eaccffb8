package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/names"
)

func function(name, spec string) string {
	return "apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata:\n  name: " + name + "\nspec:\n" + spec
}

// listOf is a List of objects, which begin in line 4.
func listOf(objects ...string) string {
	s := "apiVersion: v1\nkind: List\nitems:\n"
	for _, o := range objects {
		s += "- " + strings.ReplaceAll(strings.TrimSuffix(o, "\n"), "\n", "\n  ") + "\n"
	}
	return s
}

// inFolder writes files into a new folder and makes it the working directory.
func inFolder(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func strs(problems []Problem) []string {
	var s []string
	for _, p := range problems {
		s = append(s, p.String())
	}
	return s
}

func TestLoadFinds(t *testing.T) {
	inFolder(t, map[string]string{
		"fs/b/function.yaml":              function("b", "  image: x\n"),
		"fs/a/function.yml":               "# first\n\n" + function("a", "  image: x\n") + "---\n" + function("a2", "  image: x\n"),
		"fs/a/service.yaml":               "apiVersion: v1\nkind: Service\nmetadata: {name: s, name: s}\n",
		"fs/a/list.yaml":                  "- a\n- b\n",
		"fs/a/empty.yaml":                 "",
		"fs/a/readme.md":                  "kind: Function",
		"fs/.hidden/function.yaml":        "}",
		"fs/a/node_modules/x/f.yaml":      "}",
		"fs/a/vendor/function.yaml":       "}",
		"other/windows.yaml":              strings.ReplaceAll(function("w", "  image: x\n"), "\n", "\r\n"),
		"single.txt":                      strings.Replace(function("s", "  image: x\n"), "name: s", "name: s\n  namespace: coop", 1),
		"fs/a/status.yaml":                function("st", "  image: x\nstatus: {dead: lots}\n"),
		"other/.../even/deeper/deep.yaml": "}",
	})
	if err := os.Symlink("other", "link"); err != nil {
		t.Fatal(err)
	}
	functions, problems := validator(t).Load("fs", "single.txt", "link", "fs/b")
	if len(problems) > 0 {
		t.Errorf("problems: %q", strs(problems))
	}
	var got []string
	for _, m := range functions {
		got = append(got, fmt.Sprintf("%s:%d %s", m.File, m.Line, m.Name()))
	}
	want := []string{
		"fs/a/function.yml:3 default/a", "fs/a/function.yml:10 default/a2", "fs/a/status.yaml:1 default/st", "fs/b/function.yaml:1 default/b",
		"single.txt:1 coop/s", "link/windows.yaml:1 default/w",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestLoadProblems has one file for every kind of problem, with its line.
func TestLoadProblems(t *testing.T) {
	large := strings.Repeat("# a long comment\n", maxFileBytes/16)
	for name, c := range map[string]struct {
		content string
		want    string
	}{
		"syntax":                {function("a", "  image: x\n bad: y\n"), "f.yaml:7: reading YAML: did not find expected key"},
		"syntax, second part":   {"# one\n--- # two\n" + function("a", "  image: [x\n"), "f.yaml:8: reading YAML: did not find expected ',' or ']'"},
		"tab":                   {function("a", "\timage: x\n"), "f.yaml:6: reading YAML: found character that cannot start any token"},
		"key set twice":         {function("a", "  image: x\n  image: y\n"), `f.yaml:7: reading YAML: key "image" is set twice`},
		"key set twice, deep":   {function("a", "  image: x\n  env:\n  - name: A\n    value: x\n    value: y\n"), `f.yaml:10: reading YAML: key "value" is set twice`},
		"text after separator":  {function("a", "  image: x\n") + "--- {kind: Function}\n", "f.yaml:7: reading YAML: only a comment may follow --- on its line"},
		"alias of itself":       {function("a", "  image: &a [*a]\n"), "f.yaml:1: reading YAML: anchor 'a' value contains itself"},
		"unknown field":         {function("a", "  image: x\n  triggrs: []\n"), `f.yaml:7: spec.triggrs: unknown field "spec.triggrs", did you mean "triggers"?`},
		"unknown, in a list":    {function("a", "  image: x\n  triggers:\n  - name: a\n    htpp: {}\n"), `f.yaml:9: spec.triggers[0].htpp: unknown field "spec.triggers[0].htpp", did you mean "http"?`},
		"unknown, case":         {function("a", "  image: x\n  envfrom: []\n"), `f.yaml:7: spec.envfrom: unknown field "spec.envfrom", did you mean "envFrom"?`},
		"unknown, far from all": {function("a", "  image: x\n  colour: red\n"), `f.yaml:7: spec.colour: unknown field "spec.colour"`},
		"unknown, below a leaf": {function("a", "  image: x\n  timeout: {max: 1s}\n"), `f.yaml:7: spec.timeout.max: unknown field "spec.timeout.max"`},
		"unknown, metadata":     {"apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {nmae: a}\nspec: {image: x}\n", `f.yaml:3: metadata.nmae: unknown field "metadata.nmae", did you mean "name"?`},
		"unknown, top level":    {function("a", "  image: x\n") + "spce: {}\n", `f.yaml:7: spce: unknown field "spce", did you mean "spec"?`},
		"type":                  {function("a", "  image: x\n  timeout: 30\n"), `f.yaml:7: spec.timeout: Invalid value: "integer": spec.timeout in body must be of type string: "integer"`},
		"type, YAML boolean":    {function("a", "  image: x\n  env: [{name: A, value: on}]\n"), `f.yaml:7: spec.env[0].value: Invalid value: "boolean": spec.env[0].value in body must be of type string: "boolean"`},
		"type of metadata":      {"apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata:\n  name: 5\nspec: {image: x}\n", `f.yaml:4: metadata.name: Invalid value: "number": must be of type string`},
		"metadata is a list":    {"apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: []\nspec: {image: x}\n", `f.yaml:3: metadata: Invalid value: "array": must be of type v1.ObjectMeta`},
		"bound":                 {function("a", "  image: x\n  scale:\n    max: 1001\n"), `f.yaml:8: spec.scale.max: Invalid value: 1001: spec.scale.max in body should be less than or equal to 1000`},
		"too many":              {function("a", "  image: x\n  triggers: ["+strings.Repeat("{},", 51)+"]\n"), `f.yaml:7: spec.triggers: Too many: 51: must have at most 50 items`},
		"enum":                  {function("a", "  image: x\n  triggers:\n  - name: a\n    http: {path: /, methods: [get]}\n"), `f.yaml:9: spec.triggers[0].http.methods[0]: Unsupported value: "get": supported values: "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"`},
		"required":              {function("a", "  timeout: 30s\n"), `f.yaml:5: spec.image: Required value`},
		"no spec":               {"apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {name: a}\n", `f.yaml:1: spec: Required value`},
		"no name":               {"apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata:\n  labels: {}\nspec: {image: x}\n", `f.yaml:3: metadata.name: Required value: a Function needs a name`},
		"rule":                  {function("a", "  image: x\n  triggers:\n  - name: a\n    http:\n      path: /calls\n"), `f.yaml:10: spec.triggers[0].http.path: Invalid value: "/calls": /calls, /healthz and /readyz belong to the platform: choose another path`},
		"rule, by an alias":     {function("a", "  image: x\n  triggers:\n  - name: a\n    http: &h\n      path: /calls\n  - name: b\n    http: *h\n"), `f.yaml:10: spec.triggers[1].http.path: Invalid value: "/calls": /calls, /healthz and /readyz belong to the platform: choose another path`},
		"trigger named twice":   {function("a", "  image: x\n  triggers:\n  - {name: a, http: {path: /}}\n  - {name: a, http: {path: /a}}\n"), `f.yaml:9: spec.triggers[1]: Duplicate value: {"name":"a"}`},
		"version":               {strings.Replace(function("a", "  image: x\n"), "v1alpha1", "v2", 1), `f.yaml:1: apiVersion: Unsupported value: "serviceful.dev/v2": supported values: "serviceful.dev/v1alpha1"`},
		"group":                 {strings.Replace(function("a", "  image: x\n"), "serviceful.dev", "example.com", 1), `f.yaml:1: apiVersion: Unsupported value: "example.com/v1alpha1": supported values: "serviceful.dev/v1alpha1"`},
		"kind":                  {strings.Replace(function("a", "  image: x\n"), "Function", "Funktion", 1), `f.yaml:2: kind: Unsupported value: "Funktion": supported values: "Function"`},
		"namespace":             {strings.Replace(function("a", "  image: x\n"), "name: a", "name: a\n  namespace: a.b", 1), `f.yaml:5: metadata.namespace: Invalid value: "a.b": must not contain dots`},
		"merged, overridden":    {function("a", "  image: x\n  env:\n  - &e {name: A, value: x}\n  - <<: *e\n    name: B C\n"), `f.yaml:10: spec.env[1].name: Invalid value: "B C": must be letters, digits, '_', '-' and '.', not starting with a digit`},
		"merged":                {function("a", "  image: x\n  env:\n  - &e\n    name: A\n    valeu: x\n  - <<: *e\n    name: B\n"), `f.yaml:10: spec.env[1].valeu: unknown field "spec.env[1].valeu", did you mean "value"?`},
		"merged, several":       {function("a", "  image: x\n  env:\n  - &e {name: A}\n  - &f\n    valeu: x\n  - <<: [*e, *f]\n"), `f.yaml:10: spec.env[2].valeu: unknown field "spec.env[2].valeu", did you mean "value"?`},
		"in a list":             {listOf(function("a", "  image: x\n") + "spce: {}\n"), `f.yaml:10: spce: unknown field "spce", did you mean "spec"?`},
		"in a list, key twice":  {listOf(function("a", "  image: x\n  image: y\n")), `f.yaml:10: reading YAML: key "image" is set twice`},
		"list of Functions":     {"apiVersion: serviceful.dev/v1alpha1\nkind: FunctionList\nitems:\n- metadata: {name: a}\n  apiVersion: serviceful.dev/v1\n", `f.yaml:5: apiVersion: Unsupported value: "serviceful.dev/v1": supported values: "serviceful.dev/v1alpha1"`},
		"same name":             {function("a", "  image: x\n") + "---\n" + function("a", "  image: x\n"), `f.yaml:8: metadata.name: Function default/a is already in f.yaml:1`},
		"large":                 {large, fmt.Sprintf("f.yaml: the file has %d bytes, more than %d", len(large), maxFileBytes)},
	} {
		t.Run(name, func(t *testing.T) {
			inFolder(t, map[string]string{"f.yaml": c.content})
			_, problems := validator(t).Load("f.yaml")
			if got := strs(problems); !slices.Contains(got, c.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), c.want)
			}
		})
	}
}

// TestLoadFlattens: a list is its items, of which those of other kinds are
// ignored, and what is merged is there, unless it is overridden.
func TestLoadFlattens(t *testing.T) {
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: s, name: s}\n"
	base := "apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {name: c}\nspec: &base {image: x, timeout: 1s}\n"
	inFolder(t, map[string]string{
		"f.yaml": listOf(function("a", "  image: x\n"), service, listOf(function("b", "  image: x\n"))),
		"g.yaml": listOf(base, function("d", "  <<: *base\n  image: z\n")),
		"h.yaml": listOf(service, service) + "---\nkind: List\nitems: {}\n---\nkind: List\nitems: [1, null]\n",
	})
	functions, problems := validator(t).Load(".")
	if len(problems) > 0 {
		t.Errorf("problems: %q", strs(problems))
	}
	var got []string
	for _, m := range functions {
		spec := m.Function.Spec
		got = append(got, fmt.Sprintf("%s:%d %s %s %v %d", m.File, m.Line, m.Name().Name, spec.Image, spec.Timeout != nil, m.LineOf("spec.timeout")))
	}
	want := []string{"f.yaml:4 a x true 8", "f.yaml:16 b x true 20", "g.yaml:4 c x true 7", "g.yaml:8 d z true 7"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLoadNamesBothFiles(t *testing.T) {
	inFolder(t, map[string]string{
		"a/f.yaml": function("same", "  image: x\n"),
		"b/f.yaml": "\n" + function("same", "  image: z\n") + "---\n" + function("other", "  image: z\n"),
	})
	functions, problems := validator(t).Load("a", "b", "missing")
	want := []Problem{
		{File: "missing", Message: "no such file or directory"},
		{File: "b/f.yaml", Line: 2, Field: "metadata.name", Function: names.Function{Namespace: "default", Name: "same"},
			Message: "Function default/same is already in a/f.yaml:1"},
	}
	if !slices.Equal(problems, want) {
		t.Errorf("got %q, want %q", strs(problems), strs(want))
	}
	if len(functions) != 2 || functions[0].Function.Spec.Image != "x" {
		t.Errorf("the first of two is not the one that is kept: %v", functions)
	}
}

// TestMetadata keeps what a file decides and nothing that a cluster wrote.
func TestMetadata(t *testing.T) {
	functions, problems := validator(t).read("f.yaml", []byte(`
apiVersion: serviceful.dev/v1alpha1
kind: Function
metadata:
  name: a
  labels: {l: "1"}
  annotations: {serviceful.dev/dev-command: python3 main.py}
  creationTimestamp: "2020-01-01T00:00:00Z"
  uid: u
  resourceVersion: "5"
spec: {image: x}
`))
	if len(problems) > 0 {
		t.Fatal(strs(problems))
	}
	m := functions[0].Function.ObjectMeta
	if !m.CreationTimestamp.IsZero() || m.UID != "" || m.ResourceVersion != "" {
		t.Errorf("kept what a cluster wrote: %+v", m)
	}
	if m.Namespace != DefaultNamespace || m.Labels["l"] != "1" || m.Annotations["serviceful.dev/dev-command"] != "python3 main.py" {
		t.Errorf("lost what the file says: %+v", m)
	}
}

// FuzzLoad: whatever a file holds, reading it ends, and its problems lie in the file.
func FuzzLoad(f *testing.F) {
	for _, c := range specRules {
		f.Add([]byte(function("a", "  {"+c.spec+"}\n")))
	}
	for _, seed := range []string{"", "---", "a: &a [*a]", "kind: Function\n<<: &m {<<: *m}", "kind: List\nitems: &i [*i]", "kind: List\nitems: [{kind: Function, <<: {a: b}}, {kind: List, items: [a]}]", "apiVersion: serviceful.dev/v1alpha1\nkind: Function\nspec: {? {a: b} : c}\n", "%YAML 1.1\n--- !!map\n", "\xff\xfe"} {
		f.Add([]byte(seed))
	}
	v := validator(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		functions, problems := v.read("f.yaml", data)
		lines := 1
		for _, r := range string(data) {
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", r) { // YAML's line breaks
				lines++
			}
		}
		for _, p := range problems {
			if p.Message == "" || p.Line < 1 || p.Line > lines {
				t.Errorf("a problem without a message or outside of the file: %+v", p)
			}
		}
		for _, m := range functions {
			if m.Function.Name == "" || m.Function.Namespace == "" || m.Line < 1 || m.Line > lines {
				t.Errorf("a Function without a name or outside of the file: %+v", m)
			}
		}
	})
}
