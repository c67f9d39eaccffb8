package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/mail"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/local/process"
)

// devOptions are the flags of `serviceful dev`.
type devOptions struct {
	folders  []string
	listen   string
	services string
	data     string
	smtp     string
	mailFrom string
	maxBody  size
	maxAsync size
	maxStore size
	start    time.Duration
	ackWait  time.Duration
	gone     time.Duration // how long what is gone from the manifests may come back
	noWatch  bool
	verbose  bool
	color    bool
	out      io.Writer // where everything for a person goes
}

func devCommand() *cobra.Command {
	o := devOptions{maxBody: gateway.DefaultSyncBody, maxAsync: gateway.DefaultAsyncBody, gone: defaultGone}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run every Function of a folder on this machine",
		Long: `dev runs every Function that it finds in the YAML files of a folder: the gateway,
the dispatcher and a NATS server in this one process, and the functions as
processes that start on the first call and stop when idle, as a pod would.

An image ko://<import path> is built with the go command. A Function with the
annotation serviceful.dev/dev-command runs that command instead, in the folder
of its manifest: any language that can listen on $PORT. What changes on disk is
built and started anew; calls and events that were accepted wait meanwhile.

An interrupt stops it: requests and calls under way get 10 s in all to end, and
each part of it a second at least, so that it has ended within 20 s. A second
interrupt ends it at once. Calls that were accepted are made at the next start.

Data is kept in the data folder and found again at the next start.`,
		Example: `  serviceful dev
  serviceful dev -f functions -f examples/python-greeter
  serviceful dev --smtp localhost:1025`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out = cmd.ErrOrStderr()
			o.color = isTerminal(o.out) && os.Getenv("NO_COLOR") == ""
			return runDev(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.folders, "filename", "f", []string{"functions"}, "folder of manifests; may be given several times")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "address of the public door")
	f.StringVar(&o.services, "services", "127.0.0.1:8081", "address of the services door")
	f.StringVar(&o.data, "data", defaultData, "data folder")
	f.StringVar(&o.smtp, "smtp", "", "SMTP server (host:port) that mail is handed to; without it, mail only goes to the mailbox, GET /v1/mail on the services door")
	f.StringVar(&o.mailFrom, "mail-from", "serviceful@localhost", "sender of every mail")
	f.Var(&o.maxBody, "max-body", "largest body of a synchronous request")
	f.Var(&o.maxAsync, "max-async-body", "largest body of an asynchronous request, an event, a mail or a value; at most 4Mi")
	f.Var(&o.maxStore, "max-store", "most that events, calls and keys may take on disk; 0: three quarters of what is free")
	f.DurationVar(&o.start, "start-timeout", process.DefaultStart, "how long a function may take until it listens on $PORT")
	f.DurationVar(&o.ackWait, "ack-wait", bus.AckWait, "how long a message may be without a sign of life of the dispatcher before it is delivered again")
	f.BoolVar(&o.noWatch, "no-watch", false, "do not rebuild and restart what changes")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log every delivery")
	return cmd
}

// maxAsyncLimit keeps a stored body and what surrounds it within the largest
// message that our NATS server takes.
const maxAsyncLimit = 4 << 20

// defaultData is the data folder.
const defaultData = ".serviceful"

// gcPercent spends memory under load, when there is garbage, and none when idle:
// hack/bench, events-throughput and start.
const gcPercent = 200

func (o *devOptions) validate() error {
	switch {
	case o.maxBody <= 0 || o.maxAsync <= 0:
		return errors.New("--max-body and --max-async-body must be more than 0")
	case o.maxAsync > maxAsyncLimit:
		return fmt.Errorf("--max-async-body %v is more than 4Mi", &o.maxAsync)
	case o.maxStore < 0:
		return errors.New("--max-store must not be less than 0")
	case o.start <= 0:
		return errors.New("--start-timeout must be more than 0")
	case o.ackWait < time.Second:
		return errors.New("--ack-wait must be 1s or more")
	}
	if _, err := mail.ParseAddress(o.mailFrom); err != nil {
		return fmt.Errorf("--mail-from %q is not a mail address", o.mailFrom)
	}
	return checkFolders(o.folders)
}

// noArguments refuses arguments. A folder is the likeliest.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q; folders of manifests are given with --filename (-f)", args[0])
	}
	return nil
}

// checkFolders wants the folders of manifests to be there: a wrong one is a slip
// of the command line, and nothing is to be begun for it.
func checkFolders(folders []string) error {
	for _, folder := range folders {
		if _, err := os.Stat(folder); err != nil {
			return fmt.Errorf("%s: %w; name the folder of your manifests with --filename (-f)", folder, errors.Unwrap(err))
		}
	}
	return nil
}

func runDev(ctx context.Context, o devOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(o.out, &slog.HandlerOptions{Level: level}))
	s, err := startStack(ctx, o, log)
	if err != nil && ctx.Err() != nil {
		return nil // it was interrupted before it was ready
	}
	if err != nil {
		return err
	}
	defer s.stop()
	return s.run(ctx)
}

// size is a flag in bytes, written as in Kubernetes: 1048576, 512Ki, 1Mi.
type size int64

func (s *size) Set(v string) error {
	q, err := resource.ParseQuantity(v)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 512Ki or 10Mi", v)
	}
	*s = size(q.Value())
	return nil
}

func (s *size) String() string { return resource.NewQuantity(int64(*s), resource.BinarySI).String() }
func (s *size) Type() string   { return "size" }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
