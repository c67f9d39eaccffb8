// Command gateway is the two HTTP doors of a cluster: the public one, which takes
// requests to functions, and the services door, which functions lean on.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/identity"
	"github.com/serviceful/serviceful/operator/internal/kube"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/services"
	"github.com/serviceful/serviceful/operator/internal/wiring"
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
	defer stop()
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

// doors are both doors and what they share.
type doors struct {
	o        options
	log      *slog.Logger
	in       bus.Inlet
	world    *kube.World
	snapshot atomic.Pointer[wiring.Snapshot]
	draining atomic.Bool
}

// run serves until ctx ends, and then stops: 1 it says that it is not ready, 2 it
// takes requests until nobody sends any here, 3 the public door drains, 4 the
// services door drains, which the functions called through the first one use.
func (d *doors) run(ctx, living context.Context, config *rest.Config) error {
	first, err := d.world.Compile(ctx)
	if err != nil {
		return err
	}
	d.snapshot.Store(first)
	inside, err := d.serviceDoor(ctx, config)
	if err != nil {
		return err
	}
	outside, err := d.publicDoor()
	if err != nil {
		return err
	}
	d.log.Info("serving", "listen", outside.Address(), "services", inside.Address())
	go d.world.Follow(living, func(_ context.Context, s *wiring.Snapshot) error {
		d.snapshot.Store(s)
		return nil
	})
	<-ctx.Done()
	d.log.Info("stopping")
	d.draining.Store(true)
	time.Sleep(d.o.drainDelay)
	grace, cancel := context.WithTimeout(context.Background(), d.o.grace)
	defer cancel()
	outside.Stop(grace)
	inside.Stop(grace)
	return nil
}

func (d *doors) publicDoor() (*serve.Server, error) {
	door, err := gateway.New(gateway.Config{
		World: d.world, Inbox: d.in, Calls: d.in.Bus, Snapshot: d.snapshot.Load, Ready: d.ready,
		SyncBody: d.o.maxBody, AsyncBody: d.o.maxAsync, Logger: d.log,
	})
	if err != nil {
		return nil, err
	}
	return listen("--listen", d.o.listen, door)
}

func (d *doors) serviceDoor(ctx context.Context, config *rest.Config) (*serve.Server, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing to ask the API server for its keys: %w", err)
	}
	accounts, err := identity.NewAccounts(ctx, config.Host, client)
	if err != nil {
		return nil, err
	}
	door, err := services.New(services.Config{
		Identifier: accounts, Events: d.in, Buckets: d.in, Outbox: d.in, Snapshot: d.snapshot.Load, Ready: d.ready,
		MaxBody: d.o.maxAsync, MailFrom: d.o.mailFrom,
	})
	if err != nil {
		return nil, err
	}
	return listen("--services", d.o.services, door)
}

func listen(flag, address string, door http.Handler) (*serve.Server, error) {
	server, err := serve.Start(address, door)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return server, nil
}

func (d *doors) ready() error {
	switch {
	case d.draining.Load():
		return errors.New("it is stopping")
	case !d.in.Connected():
		return errors.New("NATS cannot be reached")
	}
	return nil
}
