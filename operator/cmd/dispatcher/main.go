// Command dispatcher takes the asynchronous work of a cluster from NATS to its
// functions, and mail to an SMTP server.
package main

import (
	"context"
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
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/kube"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// options are the flags.
type options struct {
	probes            string
	nats, credentials string
	smtp, mailFrom    string
	grace             time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dispatcher: "+err.Error())
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "dispatcher",
		Short: "Take asynchronous work from NATS to the functions of a cluster",
		Long: `dispatcher pulls events, stored calls and mails from NATS JetStream, calls the
functions they are for, and settles them. Replicas share the work; each message
is with one of them.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.probes, "probes", ":8082", "address of /healthz and /readyz")
	f.StringVar(&o.nats, "nats", "nats://serviceful-nats:4222", "URL of NATS; several servers separated by commas")
	f.StringVar(&o.credentials, "nats-credentials", "", "file of credentials for NATS")
	f.StringVar(&o.smtp, "smtp", "", "SMTP server (host:port) that mail is handed to; without it, mail waits and is dead after 72 h")
	f.StringVar(&o.mailFrom, "mail-from", "serviceful@localhost", "sender of every mail")
	f.DurationVar(&o.grace, "grace", 30*time.Second, "how long calls under way get to end after SIGTERM; those that do not are made again")
	return cmd
}

// run works until ctx ends, and then stops: 1 it says that it is not ready, 2 no
// more messages are pulled, those that wait are handed back, and calls under way
// get the grace, 3 the connections to SMTP and NATS are closed.
func run(ctx context.Context, o options) error {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	config, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	living, end := context.WithCancel(context.WithoutCancel(ctx)) // calls under way outlive ctx
	defer end()
	nc, err := bus.Connect(ctx, bus.ConnectConfig{URL: o.nats, Credentials: o.credentials, Name: "dispatcher", Logger: log})
	if err != nil {
		return err
	}
	defer nc.Close()
	b, err := bus.New(nc)
	if err != nil {
		return err
	}
	probes, err := serve.Start(o.probes, probe(func() bool { return ctx.Err() == nil && b.Connected() }))
	if err != nil {
		return fmt.Errorf("--probes: %w", err)
	}
	defer probes.Stop(context.WithoutCancel(ctx))
	mailer, closeMailer, err := newMailer(o)
	if err != nil {
		return err
	}
	defer closeMailer()
	b.GroupEvents = true                                                                // NATS syncs its disk before each answer
	world, err := kube.New(kube.Config{REST: config, Domain: "localhost", Logger: log}) // it serves no routes
	if err != nil {
		return err
	}
	if err := world.Start(living); err != nil {
		return err
	}
	snapshot, err := world.Compile(ctx)
	if err != nil {
		return err
	}
	var current atomic.Pointer[wiring.Snapshot]
	current.Store(snapshot)
	d, err := dispatch.New(dispatch.Config{
		Source: b, Keeper: b, Events: b, World: world, Mailer: mailer, Snapshot: current.Load, Grace: o.grace, Logger: log,
	})
	if err != nil {
		return err
	}
	defer d.Stop(context.Background()) // Grace bounds it
	world.Follow(ctx, func(ctx context.Context, s *wiring.Snapshot) error {
		current.Store(s)
		return d.Apply(ctx, s)
	})
	log.Info("stopping")
	return nil
}

func probe(ready func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			serve.WriteProblem(w, serve.NewProblem(http.StatusServiceUnavailable, "not-ready", "it is stopping, or NATS cannot be reached"))
		}
	})
	return mux
}
