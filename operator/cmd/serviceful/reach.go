package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/kube/forward"
	"github.com/serviceful/serviceful/operator/internal/local/datadir"
)

// reachHelp says, in the help of each command that needs it, whom it talks to.
const reachHelp = `
It works on the laptop's system where there is a data folder (--data) of
serviceful dev, which must be running; else on the cluster of the current
kubeconfig, through its API server as kubectl port-forward does: whoever may get
services, list pods and create pods/portforward in serviceful-system may use it.
--context or --kubeconfig says which cluster, --nats another NATS. Which it was
is said first, on the error output.`

// reachFlags say which system a command talks to.
type reachFlags struct {
	data        string
	dataGiven   bool
	kubeconfig  string
	context     string
	service     string
	nats        string
	credentials string
}

func (r *reachFlags) add(f *pflag.FlagSet) {
	f.StringVar(&r.data, "data", defaultData, "data folder of serviceful dev")
	f.StringVar(&r.context, "context", "", "context of the kubeconfig, and so the cluster")
	f.StringVar(&r.kubeconfig, "kubeconfig", "", "kubeconfig file")
	f.StringVar(&r.service, "nats-service", "serviceful-system/serviceful-nats", "namespace and name of the cluster's Service of NATS")
	f.StringVar(&r.nats, "nats", "", "URL of NATS, where it can be reached directly")
	f.StringVar(&r.credentials, "nats-credentials", "", "file of credentials for NATS: user credentials, or an nkey seed")
}

// system is what a command talks to.
type system string

const (
	laptop  system = "laptop"
	cluster system = "cluster"
	direct  system = "direct"
)

// choose says which system is meant. there says whether there is a data folder.
func (r *reachFlags) choose(there bool) (system, error) {
	var given []string
	if r.dataGiven {
		given = append(given, "--data")
	}
	if r.context != "" || r.kubeconfig != "" {
		given = append(given, "--context or --kubeconfig")
	}
	if r.nats != "" {
		given = append(given, "--nats")
	}
	switch {
	case len(given) > 1:
		return "", fmt.Errorf("%s name different systems; give one of them", strings.Join(given, " and "))
	case r.nats != "":
		return direct, nil
	case r.context != "" || r.kubeconfig != "":
		return cluster, nil
	case r.dataGiven || there:
		return laptop, nil
	}
	return cluster, nil
}

// reach connects to the system that is meant, and says on the error output which
// that is. The connection is the caller's to close.
func (r *reachFlags) reach(cmd *cobra.Command) (*bus.Bus, func(), error) {
	r.dataGiven = cmd.Flags().Changed("data")
	_, err := os.Stat(r.data)
	which, err := r.choose(err == nil)
	if err != nil {
		return nil, nil, err
	}
	cfg := bus.DialConfig{ConnectConfig: bus.ConnectConfig{Name: "serviceful", Credentials: r.credentials}}
	var place string
	switch which {
	case laptop:
		place, err = r.toLaptop(&cfg)
	case cluster:
		place, err = r.toCluster(cmd.Context(), &cfg)
	default:
		cfg.URL, place = r.nats, "NATS at "+r.nats
	}
	if err != nil {
		return nil, nil, err
	}
	nc, err := bus.Dial(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", place, err)
	}
	b, err := bus.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("%s: %w", place, err)
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "on the "+place)
	return b, nc.Close, nil
}

func (r *reachFlags) toLaptop(cfg *bus.DialConfig) (place string, err error) {
	folder, err := filepath.Abs(r.data)
	if err != nil {
		return "", fmt.Errorf("resolving the data folder: %w", err)
	}
	socket := datadir.Socket(r.data)
	c, err := net.Dial("unix", socket)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return "", fmt.Errorf("serviceful dev on the data folder %s is somebody else's: %w", folder, err)
		}
		return "", fmt.Errorf("serviceful dev does not run on the data folder %s; start it, or name a cluster with --context", folder)
	}
	_ = c.Close()
	cfg.URL = "nats://serviceful"
	cfg.Dial = func() (net.Conn, error) { return net.Dial("unix", socket) }
	return "laptop, data folder " + folder, nil
}

// reachTimeout bounds the making of one connection through an API server.
const reachTimeout = 20 * time.Second

// natsPort is where our NATS listens in its pod.
const natsPort = 4222

func (r *reachFlags) toCluster(ctx context.Context, cfg *bus.DialConfig) (place string, err error) {
	namespace, service, ok := strings.Cut(r.service, "/")
	if !ok || namespace == "" || service == "" {
		return "", fmt.Errorf("--nats-service %q is not NAMESPACE/NAME", r.service)
	}
	f, err := forward.New(forward.Config{Kubeconfig: r.kubeconfig, Context: r.context, Namespace: namespace, Service: service, Port: natsPort})
	if err != nil && r.context == "" && r.kubeconfig == "" {
		err = fmt.Errorf("there is no data folder %s, so a cluster is meant: %w", r.data, err)
	}
	if err != nil {
		return "", err
	}
	cfg.URL = "nats://" + service + "." + namespace
	cfg.Dial = func() (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, reachTimeout)
		defer cancel()
		return f.Dial(ctx)
	}
	return "cluster of context " + cmp.Or(f.Context, "(none)"), nil
}
