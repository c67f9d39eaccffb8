package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/serviceful/serviceful/hack/cluster/internal/build"
	"github.com/serviceful/serviceful/hack/cluster/internal/image"
	"github.com/serviceful/serviceful/hack/cluster/internal/node"
)

// imageSet is the cluster's own images by the name of their program.
type imageSet map[string]v1.Image

// platformImages makes an image of every program that runs in a pod.
func (c cluster) platformImages(programs string) (imageSet, error) {
	ground, err := image.Base(runtime.GOARCH)
	if err != nil {
		return nil, fmt.Errorf("making the base image: %w", err)
	}
	set := imageSet{"base": ground}
	for _, p := range build.Images {
		img, err := image.Of(filepath.Join(programs, p.Name), runtime.GOARCH)
		if err != nil {
			return nil, fmt.Errorf("making the image of %s: %w", p.Name, err)
		}
		set[p.Name] = img
	}
	return set, nil
}

// names returns each image's name in the node's registry, by digest.
func (s imageSet) names() (map[string]string, error) {
	names := make(map[string]string, len(s))
	for name, img := range s {
		digest, err := img.Digest()
		if err != nil {
			return nil, err
		}
		names[name] = node.Registry + "/" + name + "@" + digest.String()
	}
	return names, nil
}

// push gives the registry what it does not have.
func (s imageSet) push(ctx context.Context) error {
	for name, img := range s {
		if err := image.Push(ctx, node.Registry+"/"+name, img); err != nil {
			return err
		}
	}
	return nil
}
