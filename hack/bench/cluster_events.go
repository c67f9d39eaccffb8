package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokenSeconds are more than the benchmark takes.
const tokenSeconds = 3600

func clusterEvents(ctx context.Context, w *workshop) ([]result, error) {
	const namespace = "bench" // as in the sink's manifest
	c, err := openCluster(ctx)
	if err != nil {
		return nil, err
	}
	s, err := w.startSink(ctx)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	manifest, err := os.ReadFile(installed)
	if err != nil {
		return nil, fmt.Errorf("reading the sink's manifest: %w", err)
	}
	var laptop, own []float64
	err = c.within(ctx, namespace, func() error {
		if err := c.deploy(ctx, namespace, "function", string(manifest)); err != nil {
			return err
		}
		token, err := c.token(ctx, namespace, "sink")
		if err != nil {
			return err
		}
		_, here := s.eventPaths(w)
		there := eventPath{
			door:  door{client: w.client, url: c.services + "/v1/events", token: token, eventType: sentType, ids: new(atomic.Int64)},
			sink:  instance{url: "http://" + namespace + domain},
			drain: c.client,
		}
		laptop, own, err = takeTurns(3*time.Second, here, there, func(p eventPath, length time.Duration) (float64, error) {
			return p.throughput(ctx, length)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	return []result{{
		what: "cluster-events", ours: rate(median(own)), yardstick: rate(median(laptop)),
		value: median(own) / median(laptop), target: 0.6, least: true,
	}}, nil
}

// token is one by which the services door knows a function.
func (c *cluster) token(ctx context.Context, namespace, function string) (string, error) {
	seconds := int64(tokenSeconds)
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"serviceful"}, ExpirationSeconds: &seconds},
	}
	answer, err := c.kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, function, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("asking for a token of %s: %w", function, err)
	}
	return answer.Status.Token, nil
}
