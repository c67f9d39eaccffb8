package charts

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what is rendered to testdata/golden")

// TestGolden compares what each case renders with what it did when somebody last
// looked: go test ./charts -update writes it anew. The definition of the Function
// kind is left out; TestConfig compares it with config/.
func TestGolden(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := withoutDefinition(render(t, name))
			golden := filepath.Join("testdata", "golden", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("it is not what %s says; go test ./charts -update, and look at the difference:\n%s", golden, firstDifference(string(want), got))
			}
		})
	}
}

func withoutDefinition(text string) string {
	var kept []string
	for _, document := range strings.Split(text, "---\n") {
		if !strings.Contains(document, "\nkind: CustomResourceDefinition\n") {
			kept = append(kept, document)
		}
	}
	return strings.Join(kept, "---\n")
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	from := max(0, i-3)
	return "want:\n" + strings.Join(w[from:min(len(w), i+3)], "\n") + "\ngot:\n" + strings.Join(g[from:min(len(g), i+3)], "\n")
}

func TestLint(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustRun(t, "helm", "lint", "--strict", chart, "--set", "knative.check=false", "--values", valuesFile(name))
		})
	}
}

// TestNotesIngress reads what a first call is where there is an Ingress.
func TestNotesIngress(t *testing.T) {
	for set, want := range map[string]string{
		"":                                       "\n   curl http://shop.serviceful.local/hello\n",
		",gateway.ingress.tls[0].secretName=a":   "\n   curl https://shop.serviceful.local/hello\n",
		",gateway.ingress.hosts={*.example.com}": "serviceful.dev/host=shop.example.com\n   curl http://shop.example.com/hello\n",
		",domain=a.com,gateway.ingress.hosts={*.a.com,b.com}": "leads there from *.a.com, b.com.\n\n   curl http://shop.a.com/hello\n",
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			out := mustRun(t, "helm", "install", "serviceful", chart, "--dry-run=client", "--set", "knative.check=false,gateway.ingress.enabled=true"+set)
			_, notes, _ := strings.Cut(out, "\nNOTES:\n")
			if !strings.Contains(notes, want) || strings.Contains(notes, "annotate") != strings.Contains(want, "serviceful.dev/host") {
				t.Errorf("the notes lack %q:\n%s", want, notes)
			}
		})
	}
}

// TestNotes reads what a user reads after an installation.
func TestNotes(t *testing.T) {
	for name, want := range map[string][]string{
		"default": {
			"answers on shop.serviceful.local", "port-forward service/serviceful-gateway 8080:80", "Missing: an SMTP server",
			"Missing: a domain of your own", "Missing: a way in from outside", "the volume of serviceful-nats-0", "and the volume claims of NATS",
		},
		"existing-nats":     {"Missing: an SMTP server"},
		"high-availability": {"Missing: an SMTP server"},
		"everything": {
			"The Ingress serviceful-gateway leads there from shop.example.com, *.functions.example.com.",
			"annotate namespace shop serviceful.dev/host=shop.example.com\n   curl https://shop.example.com/hello\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := mustRun(t, "helm", "install", "serviceful", chart, "--namespace", namespace, "--dry-run=client",
				"--set", "knative.check=false", "--values", valuesFile(name))
			_, notes, _ := strings.Cut(out, "\nNOTES:\n")
			for _, w := range want {
				if !strings.Contains(notes, w) {
					t.Errorf("the notes lack %q:\n%s", w, notes)
				}
			}
			if missing := strings.Contains(notes, "Missing"); missing != (name != "everything") {
				t.Errorf("that something is missing is %v:\n%s", missing, notes)
			}
			if single := strings.Contains(notes, "Not highly available"); single != (name == "default" || name == "everything") {
				t.Errorf("that it is not highly available is %v:\n%s", single, notes)
			}
		})
	}
}
