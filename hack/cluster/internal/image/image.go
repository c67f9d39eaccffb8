// Package image makes container images of single static binaries. The same
// binary makes the same image, on every machine. It imports nothing of this module.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is who runs in every image: nobody that the host knows.
const user = "65532:65532"

// base is what even a static binary may look for.
var base = []entry{
	{header: tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}},
	{header: tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755}},
	{header: tar.Header{Typeflag: tar.TypeReg, Name: "etc/passwd", Mode: 0o644},
		content: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")},
	{header: tar.Header{Typeflag: tar.TypeReg, Name: "etc/group", Mode: 0o644},
		content: []byte("root:x:0:\nnonroot:x:65532:\n")},
}

type entry struct {
	header  tar.Header
	content []byte
}

// Base is what all the images here stand on: no program yet. ko puts those of
// the product on it.
func Base(architecture string) (v1.Image, error) {
	ground, err := layer(base)
	if err != nil {
		return nil, err
	}
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, ground); err != nil {
		return nil, err
	}
	return configure(img, func(f *v1.ConfigFile) {
		f.OS, f.Architecture = "linux", architecture
		f.Config = v1.Config{User: user, WorkingDir: "/tmp", Env: []string{"PATH=/", "HOME=/tmp"}}
	})
}

// Of makes an image whose only program is the binary, and which starts it.
func Of(binary, architecture string) (v1.Image, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	name := path.Base(binary)
	img, err := Base(architecture)
	if err != nil {
		return nil, err
	}
	top, err := layer([]entry{{header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, content: program}})
	if err != nil {
		return nil, err
	}
	if img, err = mutate.AppendLayers(img, top); err != nil {
		return nil, fmt.Errorf("stacking the layers of %s: %w", name, err)
	}
	return configure(img, func(f *v1.ConfigFile) { f.Config.Entrypoint = []string{"/" + name} })
}

func configure(img v1.Image, change func(*v1.ConfigFile)) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	change(config)
	return mutate.ConfigFile(img, config)
}

// layer is not compressed: it never travels further than this machine.
func layer(entries []entry) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		e.header.Size = int64(len(e.content))
		e.header.ModTime = time.Unix(0, 0)
		if err := w.WriteHeader(&e.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(buf.Bytes(), types.OCIUncompressedLayer), nil
}
