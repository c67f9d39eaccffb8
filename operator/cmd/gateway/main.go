// Command gateway is the two HTTP doors of a cluster: the public one, which takes
// requests to functions, and the services door, which functions lean on.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/kube"
)

// options are the flags.
type options struct {
	listen, services  string
	nats, credentials string
	domain, mailFrom  string
	maxBody, maxAsync int64
	drainDelay, grace time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gateway: "+err.Error())
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Serve the public door and the services door of a cluster",
		Long: `gateway takes requests to functions at the public door, and at the services door
the calls by which functions publish events, read and write keys, and send mail.
It keeps no state: run as many replicas as the load wants.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", ":8080", "address of the public door")
	f.StringVar(&o.services, "services", ":8081", "address of the services door, to which only functions need a way")
	f.StringVar(&o.nats, "nats", "nats://serviceful-nats:4222", "URL of NATS; several servers separated by commas")
	f.StringVar(&o.credentials, "nats-credentials", "", "file of credentials for NATS")
	f.StringVar(&o.domain, "domain", "serviceful.local", "a namespace without the annotation serviceful.dev/host answers on <namespace>.<domain>")
	f.StringVar(&o.mailFrom, "mail-from", "serviceful@localhost", "sender of every mail")
	f.Int64Var(&o.maxBody, "max-body", gateway.DefaultSyncBody, "largest body of a synchronous request, in bytes")
	f.Int64Var(&o.maxAsync, "max-async-body", gateway.DefaultAsyncBody, "largest body of an asynchronous request, an event, a mail or a value, in bytes")
	f.DurationVar(&o.drainDelay, "drain-delay", 5*time.Second, "how long requests are still taken after SIGTERM, until nobody sends any here")
	f.DurationVar(&o.grace, "grace", 30*time.Second, "how long requests under way get to end after that")
	return cmd
}

func run(ctx context.Context, o options) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	living, end := context.WithCancel(context.WithoutCancel(ctx)) // what requests under way lean on outlives ctx
	defer end()
	nc, err := bus.Connect(ctx, bus.ConnectConfig{URL: o.nats, Credentials: o.credentials, Name: "gateway", Logger: log})
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := bus.New(nc)
	if err != nil {
		return err
	}
	b.GroupEvents = true // NATS syncs its disk before each answer
	world, err := kube.New(kube.Config{REST: config, Domain: o.domain, Logger: log})
	if err != nil {
		return err
	}
	if err := world.Start(living); err != nil {
		return err
	}
	d := doors{o: o, log: log, in: bus.Inlet{Bus: b, Room: b.WatchRoom(living)}, world: world}
	return d.run(ctx, living, config)
}
