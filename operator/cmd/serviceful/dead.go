package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/serviceful/serviceful/operator/internal/dead"
)

func deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, show, replay and purge dead letters",
		Long: `dead works on dead letters: the events, calls and mail that were given up. Each is
kept whole, with why it died, until it is replayed or purged.
` + reachHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(deadListCommand(), deadShowCommand(), deadReplayCommand(), deadPurgeCommand())
	return cmd
}

// onlyFlags refuses arguments of a command that selects by flags.
func onlyFlags(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown argument %q; %s --help lists the flags", args[0], cmd.CommandPath())
	}
	return nil
}

func deadListCommand() *cobra.Command {
	var r reachFlags
	var s selection
	var format string
	n := newest{limit: 100}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the newest first",
		Long: `list prints dead letters, the newest first: of all namespaces, or of one. With -o json
it prints a JSON object on a line for each.
` + reachHelp,
		Example: `  serviceful dead list --since 2h
  serviceful dead list -n coop --function offers --reason RetriesUsedUp
  serviceful dead list --type 'offers.*' -o json --limit 0`,
		Args: onlyFlags,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(nil, time.Now()); err != nil {
				return err
			}
			if n.limit < 0 {
				return errors.New("--limit must not be less than 0")
			}
			if format != "table" && format != "json" {
				return fmt.Errorf("--output %q is neither table nor json", format)
			}
			b, leave, err := r.reach(cmd)
			if err != nil {
				return err
			}
			defer leave()
			err = s.each(cmd.Context(), b, func(l dead.Letter) error { n.add(l); return nil })
			if err != nil {
				return err
			}
			return printLetters(cmd, &n, format)
		},
	}
	r.add(cmd.Flags())
	s.add(cmd.Flags())
	cmd.Flags().IntVar(&n.limit, "limit", n.limit, "most letters to print; 0: all")
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json")
	return cmd
}

func printLetters(cmd *cobra.Command, n *newest, format string) error {
	letters := n.sorted()
	switch {
	case format == "json":
		for _, l := range letters {
			if err := dead.JSON(cmd.OutOrStdout(), l, false); err != nil {
				return err
			}
		}
	case len(letters) == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "no dead letters")
	default:
		if err := dead.Table(cmd.OutOrStdout(), letters); err != nil {
			return err
		}
	}
	if n.seen > len(letters) {
		fmt.Fprintf(cmd.ErrOrStderr(), "only the newest %d of %d; --limit 0 prints all\n", len(letters), n.seen)
	}
	return nil
}

func deadShowCommand() *cobra.Command {
	var r reachFlags
	var format string
	cmd := &cobra.Command{
		Use:   "show ID...",
		Short: "Show all of a dead letter",
		Long: `show prints all that is known of a dead letter: why it died, its attempts, the last
answer, and the message itself with its headers. The values of Authorization,
Cookie and their kind are never printed.
` + reachHelp,
		Example: `  serviceful dead show coop/42
  serviceful dead show coop/42 -o json | jq -r .body`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s selection
			if err := s.resolve(args, time.Now()); err != nil {
				return err
			}
			if format != "text" && format != "json" {
				return fmt.Errorf("--output %q is neither text nor json", format)
			}
			b, leave, err := r.reach(cmd)
			if err != nil {
				return err
			}
			defer leave()
			first := true
			return s.each(cmd.Context(), b, func(l dead.Letter) error {
				if format == "json" {
					return dead.JSON(cmd.OutOrStdout(), l, true)
				}
				if !first {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				first = false
				return dead.Details(cmd.OutOrStdout(), l)
			})
		},
	}
	r.add(cmd.Flags())
	cmd.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	return cmd
}
