package charts

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPackage packages the chart as hack/release does, and renders it: it installs
// the images of dist/install.yaml, by digest.
func TestPackage(t *testing.T) {
	dist := t.TempDir()
	const digest = "@sha256:123456789012345678901234567890123456789012345678901234567890abc"
	images := []string{
		"registry.example.com:5000/acme/dispatcher" + digest + "0", "registry.example.com:5000/acme/gateway" + digest + "1",
		"registry.example.com:5000/acme/operator" + digest + "2", "registry.example.com:5000/nats-server" + digest + "3",
	}
	write(t, filepath.Join(dist, "install.yaml"), "        image: "+strings.Join(images, "\n        image: ")+"\n")

	cmd := exec.CommandContext(t.Context(), filepath.Join("..", "hack", "chart"), dist)
	cmd.Env = append(os.Environ(), "VERSION=1.2.3")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := mustRun(t, "helm", "template", "serviceful", filepath.Join(dist, "serviceful-1.2.3.tgz"), "--set", "knative.check=false")
	var got []string
	for _, match := range regexp.MustCompile(`(?m)^ *image: (.*)$`).FindAllStringSubmatch(withoutDefinition(text), -1) {
		got = append(got, match[1])
	}
	slices.Sort(got)
	if !slices.Equal(got, images) {
		t.Errorf("got %v, want %v", got, images)
	}
}
