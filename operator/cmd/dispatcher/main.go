// Command dispatcher takes the asynchronous work of a cluster from NATS to its
// functions, and mail to an SMTP server.
package main

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/serviceful/serviceful/operator/cmd/internal/dataplane"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// options are the flags.
type options struct {
	dataplane.Options
	probes         string
	smtp, mailFrom string
	grace          time.Duration
}

func main() { dataplane.Main(command()) }

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "dispatcher",
		Short: "Take asynchronous work from NATS to the functions of a cluster",
		Long: `dispatcher pulls events, stored calls and mails from NATS JetStream, calls the
functions they are for, and settles them. Replicas share the work; each message
is with one of them.

It finds the cluster as kubectl does: in a pod by the pod's account, elsewhere by
$KUBECONFIG.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.probes, "probes", ":8082", "address of /healthz and /readyz")
	o.AddTo(f)
	f.StringVar(&o.smtp, "smtp", "", "SMTP server (host:port) that mail is handed to; without it, mail waits and is dead after 72 h")
	f.StringVar(&o.mailFrom, "mail-from", "serviceful@localhost", "sender of every mail")
	f.DurationVar(&o.grace, "grace", 30*time.Second, "how long calls under way get to end after SIGTERM; those that do not are made again")
	return cmd
}

// run works until ctx ends, and then stops: 1 it says that it is not ready, 2 no
// more messages are pulled, those that wait are handed back, and calls under way
// get the grace, 3 the connections to SMTP and NATS are closed.
func run(ctx context.Context, o options) error {
	plane, err := dataplane.Open(ctx, "dispatcher", "localhost", o.Options) // it serves no routes
	if err != nil {
		return err
	}
	defer plane.Close() // 3
	mailer, closeMailer, err := newMailer(o)
	if err != nil {
		return err
	}
	defer closeMailer()                                                       // 3
	ready := func() bool { return ctx.Err() == nil && plane.Bus.Connected() } // 1
	probes, err := dataplane.Listen("--probes", o.probes, probe(ready))
	if err != nil {
		return err
	}
	defer probes.Close()
	keeper := plane.Metrics.Keeper(plane.Bus)
	d, err := dispatch.New(dispatch.Config{
		Source: plane.Bus, Claims: plane.Bus, Keeper: keeper, Clocks: plane.Bus, Events: keeper, Changes: keeper, World: plane.World, Mailer: mailer, Snapshot: plane.Snapshot,
		Grace: o.grace, Meter: plane.Metrics.Dispatcher(), Logger: plane.Log,
	})
	if err != nil {
		return err
	}
	defer d.Stop(context.WithoutCancel(ctx)) // 2; Grace bounds it
	plane.Log.Info("dispatching", "probes", probes.Address())
	plane.Follow(ctx, d.Apply)
	plane.Log.Info("stopping")
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
