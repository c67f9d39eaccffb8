// Command operator is the control plane on Kubernetes: it makes Functions run as
// Knative Services, and wires them with streams, consumers and buckets in NATS.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/controller"
	"github.com/serviceful/serviceful/operator/internal/metrics"
	"github.com/serviceful/serviceful/operator/internal/render"
)

func main() {
	cmd := command()
	if err := cmd.ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "operator: "+err.Error())
		os.Exit(1)
	}
}

func command() *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Make Functions run on Kubernetes",
		Long: `operator makes every Function of the cluster run as a Knative Service that
scales to zero, gives it an account, streams, consumers and buckets, and reports
how it stands. Several may run: with --leader-elect one of them acts.

It finds the cluster as kubectl does: in a pod by the pod's account, elsewhere by
$KUBECONFIG.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	o.flags(cmd.Flags())
	return cmd
}

// gcPercent keeps the heap small: the operator mostly waits, and what it collects
// more often costs it little.
const gcPercent = 50

// run is the operator's life, until ctx ends. Then, in this order: 1 the manager
// takes up no more Functions and lets those at work end, 2 it gives up the lease,
// so that another operator acts at once, 3 the connection to NATS is closed.
func run(ctx context.Context, o options) error {
	if err := o.validate(); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := o.logger()
	kube, err := config.GetConfig()
	if err != nil {
		return fmt.Errorf("looking for the cluster: %w", err)
	}
	kube.QPS = -1 // the API server itself shares out its time fairly
	found, err := discovery.NewDiscoveryClientForConfig(kube)
	if err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	if err := checkKnative(found, servingv1.SchemeGroupVersion); err != nil {
		return err
	}

	nc, err := bus.Connect(ctx, bus.ConnectConfig{URL: o.nats, Credentials: o.credentials, Name: "serviceful-operator", Logger: log})
	if err != nil {
		return err
	}
	defer nc.Close() // 3
	b, err := bus.New(nc)
	if err != nil {
		return err
	}

	scheme := runtime.NewScheme()
	if err := controller.AddToScheme(scheme); err != nil {
		return fmt.Errorf("registering the kinds: %w", err)
	}
	mgr, err := ctrl.NewManager(kube, ctrl.Options{
		Scheme: scheme, Cache: controller.Cache(), Client: controller.Client(), Metrics: server.Options{BindAddress: o.metrics}, HealthProbeBindAddress: o.probes,
		LeaderElection: o.elect, LeaderElectionID: "serviceful-operator", LeaderElectionNamespace: o.namespace,
		LeaderElectionReleaseOnCancel: true, // 2; the program ends right after
	})
	if err != nil {
		return fmt.Errorf("making the manager: %w", err)
	}
	meter := metrics.NewOperator()
	if err := ctrlmetrics.Registry.Register(meter); err != nil {
		return fmt.Errorf("registering the metrics: %w", err)
	}
	defer ctrlmetrics.Registry.Unregister(meter)
	layout := bus.Layout{Bus: b, Replicas: o.replicas}
	err = controller.Add(mgr, controller.Config{
		Layout: layout, Remover: layout, Surveyor: layout, Sweeper: layout, Domain: o.domain, Meter: meter,
		Settings: render.Settings{ServicesURL: o.servicesURL, MaxTimeout: o.maxTimeout},
	})
	if err != nil {
		return err
	}
	if err := addProbes(mgr, nc.IsConnected); err != nil {
		return err
	}
	return mgr.Start(ctx) // 1
}

// addProbes has the operator be alive as long as it answers, and ready as long
// as it has NATS.
func addProbes(mgr ctrl.Manager, connected func() bool) error {
	if err := mgr.AddHealthzCheck("alive", healthz.Ping); err != nil {
		return fmt.Errorf("adding a probe: %w", err)
	}
	err := mgr.AddReadyzCheck("nats", natsCheck(connected))
	if err != nil {
		return fmt.Errorf("adding a probe: %w", err)
	}
	return nil
}

// logger writes JSON lines, ours and those of the libraries.
func (o options) logger() *slog.Logger {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	handler := slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})
	ctrl.SetLogger(logr.FromSlogHandler(handler))
	klog.SetLogger(logr.FromSlogHandler(handler))
	return slog.New(handler)
}
