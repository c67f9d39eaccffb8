package image

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push sends an image to a registry that speaks plain HTTP, unless it is there,
// as the repository's latest.
func Push(ctx context.Context, repository string, img v1.Image) error {
	tag, err := name.NewTag(repository+":latest", name.Insecure)
	if err != nil {
		return err
	}
	if err := remote.Write(tag, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing %s: %w", tag, err)
	}
	return nil
}
