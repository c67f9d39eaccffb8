// Command gateway is the two HTTP doors of a cluster: the public one, which takes
// requests to functions, and the services door, which functions lean on.
package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/serviceful/serviceful/operator/cmd/internal/dataplane"
	"github.com/serviceful/serviceful/operator/internal/gateway"
)

// options are the flags.
type options struct {
	dataplane.Options
	listen, services  string
	domain, mailFrom  string
	maxBody, maxAsync int64
	drainDelay, grace time.Duration
}

func main() { dataplane.Main(command()) }

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Serve the public door and the services door of a cluster",
		Long: `gateway takes requests to functions at the public door, and at the services door
the calls by which functions publish events, read and write keys, and send mail.
It keeps no state: run as many replicas as the load wants.

It finds the cluster as kubectl does: in a pod by the pod's account, elsewhere by
$KUBECONFIG.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", ":8080", "address of the public door")
	f.StringVar(&o.services, "services", ":8081", "address of the services door, to which only functions need a way")
	o.AddTo(f)
	f.StringVar(&o.domain, "domain", "serviceful.local", "a namespace without the annotation serviceful.dev/host answers on <namespace>.<domain>")
	f.StringVar(&o.mailFrom, "mail-from", "serviceful@localhost", "sender of every mail")
	f.Int64Var(&o.maxBody, "max-body", gateway.DefaultSyncBody, "largest body of a synchronous request, in bytes")
	f.Int64Var(&o.maxAsync, "max-async-body", gateway.DefaultAsyncBody, "largest body of an asynchronous request, an event, a mail or a value, in bytes")
	f.DurationVar(&o.drainDelay, "drain-delay", 5*time.Second, "how long requests are still taken after SIGTERM, until nobody sends any here")
	f.DurationVar(&o.grace, "grace", 15*time.Minute, "how long requests under way get to end after that: a start (5m) and the longest timeout of a function, where Knative allows no more than its default (10m)")
	return cmd
}
