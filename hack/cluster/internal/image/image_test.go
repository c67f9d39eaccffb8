package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestTheSameBinaryMakesTheSameImage(t *testing.T) {
	var digests []string
	for range 2 {
		binary := filepath.Join(t.TempDir(), "greet")
		if err := os.WriteFile(binary, []byte("a program"), 0o755); err != nil {
			t.Fatal(err)
		}
		img, err := Of(binary, "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img, validate.Fast); err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.User != user || config.Config.Entrypoint[0] != "/greet" {
			t.Errorf("config: %+v", config.Config)
		}
	}
	if digests[0] != digests[1] {
		t.Errorf("two digests: %v", digests)
	}
}
