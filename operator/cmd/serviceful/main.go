// Command serviceful is the command-line tool: it runs a whole system on a
// laptop, shows how Functions are wired, and gives messages another chance.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run is main without the exit, so that tests can call it. The first SIGINT or
// SIGTERM asks for a clean stop; a second one ends the program at once.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	cmd := rootCommand()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errReported) {
		fmt.Fprintln(cmd.ErrOrStderr(), "serviceful: "+err.Error())
	}
	if err != nil {
		return 1
	}
	return 0
}

// errReported ends the program after what is wrong has been printed.
var errReported = errors.New("reported")

func rootCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serviceful",
		Short: "Functions that scale to zero, wired by events, on a laptop as on a cluster",
		Long: `Serviceful runs functions: containers that get HTTP requests and CloudEvents,
raise events of their own, and lean on services such as key-value buckets and
mail. This tool runs a whole system on a laptop, shows how it is wired, and there as
on a cluster works on dead letters and sends events again.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(devCommand(), graphCommand(), deadCommand(), replayCommand())
	return cmd
}
