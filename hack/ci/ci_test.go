// Package ci has examples of how functions are deployed from CI, to be copied.
package ci

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"sigs.k8s.io/yaml"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
)

const root = "../.."

type github struct {
	Jobs map[string]struct {
		Steps []struct{ Run string }
	}
}

// commands are the lines that an example runs, in their order.
var commands = map[string]func(t *testing.T, text []byte) []string{
	"github-actions.yaml": func(t *testing.T, text []byte) (out []string) {
		var all github
		parse(t, text, &all)
		for _, step := range all.Jobs["deploy"].Steps {
			out = append(out, strings.Split(strings.TrimSpace(step.Run), "\n")...)
		}
		return out
	},
	"gitlab-ci.yml": func(t *testing.T, text []byte) (out []string) {
		var all map[string]any
		parse(t, text, &all)
		for _, job := range []string{"push", "apply"} {
			for _, line := range all[job].(map[string]any)["script"].([]any) {
				out = append(out, line.(string))
			}
		}
		return out
	},
}

func parse(t *testing.T, text []byte, v any) {
	t.Helper()
	if err := yaml.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// TestExamples runs the lines of each example that build and push, with a
// registry of the test's own: the manifests that come of them name images that
// the registry has.
func TestExamples(t *testing.T) {
	host := startRegistry(t)
	for name, lines := range commands {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dist := t.TempDir()
			for _, line := range lines(t, text) {
				if !strings.HasPrefix(line, "hack/") {
					continue
				}
				cmd := exec.CommandContext(t.Context(), "bash", "-euc", line)
				cmd.Dir = root
				cmd.Env = append(os.Environ(), "REGISTRY="+host+"/shop", "INSECURE_REGISTRY=1", "KO_DEFAULTBASEIMAGE="+host+"/base", "DIST="+dist)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", line, err, out)
				}
			}
			got := images(t, dist)
			for _, fn := range []string{"membership", "offers", "notifications"} {
				if !pushed(t, got[fn]) {
					t.Errorf("the image of %s is %q, which the registry does not have", fn, got[fn])
				}
			}
		})
	}
}

// startRegistry is a registry with a base image, for this machine's kind.
func startRegistry(t *testing.T) (host string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	config := `{"os":"linux","architecture":"` + runtime.GOARCH + `","rootfs":{"type":"layers","diff_ids":[]}}`
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(config)))
	send(t, "POST", server.URL+"/v2/base/blobs/uploads/?digest="+digest, "application/octet-stream", config)
	const kind = "application/vnd.oci.image.manifest.v1+json"
	send(t, "PUT", server.URL+"/v2/base/manifests/latest", kind, fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":%d,"digest":%q},"layers":[]}`,
		kind, len(config), digest))
	return strings.TrimPrefix(server.URL, "http://")
}

func send(t *testing.T, method, url, kind, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("%s %s answered %s", method, url, resp.Status)
	}
}

// images are those that the manifests name, by function.
func images(t *testing.T, dist string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dist, "functions.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, one := range strings.Split(string(text), "\n---\n") {
		var fn v1alpha1.Function
		parse(t, []byte(one), &fn)
		if fn.Name != "" {
			out[fn.Name] = fn.Spec.Image
		}
	}
	return out
}

// pushed reports whether a registry has an image that is named by its digest.
func pushed(t *testing.T, image string) bool {
	t.Helper()
	host, path, _ := strings.Cut(image, "/")
	repository, digest, found := strings.Cut(path, "@")
	if !found {
		return false
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+host+"/v2/"+repository+"/manifests/"+digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
