package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

const (
	installed  = "dist/functions.yaml" // by hack/install
	domain     = ".serviceful.local"   // of the installation; before it stands the namespace
	startLimit = 2 * patience          // of a function or a pod
	manyLimit  = 15 * time.Minute      // of a hundred functions, or for them to be gone
)

// cluster is what hack/install has put Serviceful on; $KUBECONFIG says where.
type cluster struct {
	kube     *kubernetes.Clientset
	image    string       // of the sink
	services string       // base URL
	client   *http.Client // reaches the hosts of the domain through the gateway
}

func openCluster(ctx context.Context) (*cluster, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, fmt.Errorf("looking for the cluster: %w", err)
	}
	config.QPS = -1 // nothing that is measured waits for its turn here
	c := &cluster{}
	if c.kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	if c.image, err = installedImage(); err != nil {
		return nil, err
	}
	gateway, err := c.address(ctx, "serviceful-gateway")
	if err != nil {
		return nil, err
	}
	services, err := c.address(ctx, "serviceful-services")
	if err != nil {
		return nil, err
	}
	c.services = "http://" + services
	var dialer net.Dialer
	c.client = &http.Client{Timeout: startLimit, Transport: &http.Transport{
		MaxIdleConnsPerHost: 256, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if host, _, _ := net.SplitHostPort(address); strings.HasSuffix(host, domain) {
				address = gateway
			}
			return dialer.DialContext(ctx, network, address)
		},
	}}
	return c, nil
}

// installedImage is what hack/install has built of the sink.
func installedImage() (string, error) {
	text, err := os.ReadFile(installed)
	if err != nil {
		return "", fmt.Errorf("looking for what hack/install built: %w", err)
	}
	var function struct {
		Spec struct {
			Image string `json:"image"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &function); err != nil {
		return "", fmt.Errorf("reading %s: %w", installed, err)
	}
	if function.Spec.Image == "" {
		return "", fmt.Errorf("%s is not the manifest of a function: run hack/install hack/bench/sink", installed)
	}
	return function.Spec.Image, nil
}

// address is where a Service of the installation listens.
func (c *cluster) address(ctx context.Context, service string) (string, error) {
	s, err := c.kube.CoreV1().Services("serviceful-system").Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("looking for Serviceful on the cluster: %w", err)
	}
	return net.JoinHostPort(s.Spec.ClusterIP, "80"), nil
}

// within runs measure with a namespace of that name, which is new and goes again.
// A name is used by every run, so that what is kept of it in NATS does not grow.
func (c *cluster) within(ctx context.Context, namespace string, measure func() error) (err error) {
	if err := c.remove(ctx, namespace); err != nil { // what a killed run has left
		return err
	}
	if _, err := kubectl(ctx, "", "create", "namespace", namespace); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), manyLimit)
		defer cancel()
		err = errors.Join(err, c.remove(ctx, namespace))
	}()
	return measure()
}

// remove returns when the namespace and all that was in it is gone. What runs goes
// first: a namespace with pods that end is looked at rarely.
func (c *cluster) remove(ctx context.Context, namespace string) error {
	if _, err := kubectl(ctx, "", "-n", namespace, "delete", "functions,ksvc", "--all", "--timeout", manyLimit.String()); err != nil {
		return err
	}
	if err := c.awaitZero(ctx, namespace); err != nil {
		return err
	}
	_, err := kubectl(ctx, "", "delete", "namespace", namespace, "--ignore-not-found", "--timeout", manyLimit.String())
	return err
}

// deploy applies manifests to a namespace and returns when all objects of the
// kind are ready there.
func (c *cluster) deploy(ctx context.Context, namespace, kind, manifests string) error {
	if _, err := kubectl(ctx, manifests, "-n", namespace, "apply", "-f", "-"); err != nil {
		return err
	}
	_, err := kubectl(ctx, "", "-n", namespace, "wait", kind, "--all", "--for=condition=Ready", "--timeout", manyLimit.String())
	return err
}

// awaitZero returns when a namespace has no pod, ending ones included.
func (c *cluster) awaitZero(ctx context.Context, namespace string) error {
	var pods int
	err := poll(ctx, 500*time.Millisecond, manyLimit, func() bool {
		list, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		pods = len(list.Items)
		return pods == 0
	})
	if err != nil {
		return fmt.Errorf("waiting until %s, where %d pods are left, is at zero: %w", namespace, pods, err)
	}
	return nil
}

// kubectl runs kubectl with input and returns what it prints.
func kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(input)
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, failure.String())
	}
	return out.String(), nil
}
