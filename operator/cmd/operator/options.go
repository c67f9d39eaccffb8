package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
)

// options are the operator's flags.
type options struct {
	nats        string
	credentials string
	replicas    int
	domain      string
	servicesURL string
	maxTimeout  time.Duration
	elect       bool
	namespace   string
	metrics     string
	probes      string
	verbose     bool
}

func (o *options) flags(f *pflag.FlagSet) {
	f.StringVar(&o.nats, "nats", "nats://serviceful-nats:4222", "URL of NATS; several are separated by commas")
	f.StringVar(&o.credentials, "nats-credentials", "", "file of NATS user credentials or of an nkey seed")
	f.IntVar(&o.replicas, "nats-replicas", 1, "servers of NATS that keep each stream: 1, 3 or 5")
	f.StringVar(&o.domain, "domain", "serviceful.local", "a namespace's routes answer on <namespace>.<domain>; the same as the gateway's")
	f.StringVar(&o.servicesURL, "services-url", "http://serviceful-services.serviceful-system", "URL of the services door, as functions reach it")
	f.DurationVar(&o.maxTimeout, "max-timeout", 10*time.Minute, "longest request that Knative allows, start included: max-revision-timeout-seconds of its config-defaults")
	f.BoolVar(&o.elect, "leader-elect", false, "act only while holding the lease serviceful-operator")
	f.StringVar(&o.namespace, "namespace", "", "namespace of the lease (default: the pod's own)")
	f.StringVar(&o.metrics, "metrics", ":9090", "address of Prometheus metrics; 0: none")
	f.StringVar(&o.probes, "probes", ":8081", "address of /healthz and /readyz; 0: none")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log why Functions are looked at again")
}

func (o *options) validate() error {
	services, err := url.Parse(o.servicesURL)
	switch {
	case o.nats == "":
		return errors.New("--nats must not be empty")
	case o.replicas != 1 && o.replicas != 3 && o.replicas != 5:
		return fmt.Errorf("--nats-replicas %d is not 1, 3 or 5", o.replicas)
	case o.domain == "" || strings.ToLower(o.domain) != o.domain || strings.Trim(o.domain, ".") != o.domain:
		return fmt.Errorf("--domain %q is not a lower-case domain such as functions.example.com", o.domain)
	case err != nil || services.Host == "" || services.Scheme != "http" && services.Scheme != "https":
		return fmt.Errorf("--services-url %q is not a URL such as http://services.serviceful-system", o.servicesURL)
	case o.maxTimeout < time.Second:
		return fmt.Errorf("--max-timeout %s is less than a second", o.maxTimeout)
	}
	o.servicesURL = strings.TrimRight(o.servicesURL, "/")
	return nil
}

// checkKnative says what is missing, before a cache waits for it in vain.
func checkKnative(cluster discovery.ServerResourcesInterface, serving schema.GroupVersion) error {
	_, err := cluster.ServerResourcesForGroupVersion(serving.String())
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("the cluster has no Knative Serving (%s): install it, https://knative.dev/docs/install, and start the operator again", serving)
	}
	if err != nil {
		return fmt.Errorf("asking the cluster for Knative Serving: %w", err)
	}
	return nil
}

func natsCheck(connected func() bool) healthz.Checker {
	return func(*http.Request) error {
		if !connected() {
			return errors.New("there is no connection to NATS")
		}
		return nil
	}
}
