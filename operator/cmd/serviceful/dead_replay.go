package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dead"
)

func deadReplayCommand() *cobra.Command {
	var r reachFlags
	var s selection
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay [ID]...",
		Short: "Give dead letters another chance",
		Long: `replay stores the messages of dead letters again, the oldest first in each namespace,
for the trigger that they are of and no other: the same event with the same id,
the same call, whose result is queued again, the same mail. Their attempts begin
anew, and maxAge counts from now. A letter goes when its message is stored.

A message whose trigger is gone is refused, and its letter stays; --to sends it to
another trigger of the same kind in its namespace.

Interrupted, it ends between two letters. Killed, or broken off by the network, it
may leave the letter of a message that was stored: within a minute, replaying it
again does not store it twice; later, an event or a mail may be delivered twice. A
call is not made again where its result says that it goes on or has ended well.
` + reachHelp,
		Example: `  serviceful dead replay coop/42
  serviceful dead replay -n coop --function offers --since 2h --dry-run
  serviceful dead replay --function offers --trigger old --to offers/new --rate 5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return withLetters(cmd, &r, &s, args, func(b *bus.Bus, letters []brief) error {
				if o.dryRun {
					return dryReplay(cmd, b, letters, o.target)
				}
				return replayLetters(cmd, b, letters, o)
			})
		},
	}
	r.add(cmd.Flags())
	s.add(cmd.Flags())
	s.addAll(cmd.Flags())
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "another trigger, FUNCTION/TRIGGER, in the letter's namespace")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be replayed, and change nothing")
	f.Float64Var(&o.rate, "rate", defaultRate, "most messages a second; 0: as fast as it goes")
	return cmd
}

// replayOptions are the flags of `serviceful dead replay` that do not select.
type replayOptions struct {
	to     string
	target dead.Trigger // of to; zero: each letter's own
	dryRun bool
	rate   float64
}

func (o *replayOptions) validate() (err error) {
	if o.rate < 0 {
		return errRate
	}
	if o.to != "" {
		if o.target, err = dead.ParseTrigger(o.to); err != nil {
			return fmt.Errorf("--to: %w", err)
		}
	}
	return nil
}

// brief is what is kept of a letter that is one of many: no headers.
type brief struct {
	id      dead.ID
	trigger dead.Trigger
	kind    dead.Kind
	cut     bool
}

// withLetters calls f with the letters that are meant.
func withLetters(cmd *cobra.Command, r *reachFlags, s *selection, args []string, f func(*bus.Bus, []brief) error) error {
	if err := s.resolve(args, time.Now()); err != nil {
		return err
	}
	if err := s.meant(); err != nil {
		return err
	}
	b, leave, err := r.reach(cmd)
	if err != nil {
		return err
	}
	defer leave()
	var letters []brief
	err = s.each(cmd.Context(), b, func(l dead.Letter) error {
		letters = append(letters, brief{l.ID, l.Trigger(), l.Kind, l.Death.Cut > 0})
		return nil
	})
	if err != nil {
		return err
	}
	if len(letters) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no dead letters")
		return nil
	}
	return f(b, letters)
}

// refusals are the letters that have nowhere to go.
type refusals struct {
	lines []string // of the first
	count int
}

// shownRefusals is how many of them are named.
const shownRefusals = 20

func (r *refusals) add(l brief, to dead.Trigger, err error) {
	if r.count++; r.count <= shownRefusals {
		r.lines = append(r.lines, fmt.Sprintf("refused %s: %s", l.id, refusal(l, to, err)))
	}
}

// write names the refused; to be called when no progress is shown any more.
func (r *refusals) write(w io.Writer) {
	for _, line := range r.lines {
		fmt.Fprintln(w, line)
	}
	if r.count > len(r.lines) {
		fmt.Fprintf(w, "refused %d more\n", r.count-len(r.lines))
	}
}

// refusal says why a letter was not replayed, and what can be done.
func refusal(l brief, to dead.Trigger, err error) string {
	if !errors.Is(err, bus.ErrNoTrigger) {
		return err.Error()
	}
	what := map[dead.Kind]string{
		dead.Event: "takes events", dead.Call: "takes asynchronous requests", dead.Queued: "takes messages of its queue", dead.Schedule: "has a schedule",
	}[l.kind]
	switch {
	case l.kind == dead.Mail:
		return "no function of the namespace may send mail any more"
	case l.kind == dead.Queued, l.kind == dead.Schedule:
		return fmt.Sprintf("no trigger %s that %s is in namespace %s any more", l.trigger, what, l.id.Namespace)
	case to != (dead.Trigger{}):
		return fmt.Sprintf("no trigger %s that %s is in namespace %s", to, what, l.id.Namespace)
	}
	return fmt.Sprintf("no trigger %s that %s is in namespace %s any more; --to FUNCTION/TRIGGER sends it to another", l.trigger, what, l.id.Namespace)
}

func refused(err error) bool {
	return errors.Is(err, bus.ErrNoTrigger) || errors.Is(err, dead.ErrCannotReplay)
}

func replayLetters(cmd *cobra.Command, b *bus.Bus, letters []brief, o replayOptions) error {
	var replayed, going, gone int
	var no refusals
	p := pace{rate: o.rate, out: cmd.ErrOrStderr(), what: "replaying"}
	done, err := p.each(cmd.Context(), len(letters), func(ctx context.Context, i int) error {
		l, err := b.Letter(ctx, letters[i].id)
		if err == nil {
			var sent bool
			if sent, err = b.Replay(ctx, l, o.target, time.Now()); err == nil && !sent {
				going++
				return nil
			}
		}
		switch {
		case errors.Is(err, bus.ErrNotFound):
			gone++
		case refused(err):
			no.add(letters[i], o.target, err)
		case err != nil:
			return fmt.Errorf("%s: %w", letters[i].id, err)
		default:
			replayed++
		}
		return nil
	})
	s := summary{}
	s.add(replayed, "replayed")
	s.add(going, "calls go on or have ended already, their letters removed")
	s.add(gone, "were gone")
	s.add(no.count, "refused")
	s.add(len(letters)-done, "left")
	no.write(cmd.ErrOrStderr())
	fmt.Fprintln(cmd.OutOrStdout(), s.String())
	if err == nil {
		err = interrupted(cmd, done < len(letters))
	}
	if err == nil && no.count > 0 {
		err = errReported
	}
	return err
}

// interrupted is the error of a command that was told to stop before its end.
func interrupted(cmd *cobra.Command, left bool) error {
	if left && cmd.Context().Err() != nil {
		return errors.New("interrupted")
	}
	return nil
}

// summary is what has become of many messages.
type summary []string

func (s *summary) add(n int, what string) {
	if n > 0 || len(*s) == 0 {
		*s = append(*s, fmt.Sprintf("%d %s", n, what))
	}
}

func (s summary) String() string { return strings.Join(s, ", ") }

// counted is so many of a thing, for a person.
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// count is how many of each there are, in the order in which they first came.
func count[K comparable](letters []brief, key func(brief) K) (keys []K, n map[K]int) {
	n = map[K]int{}
	for _, l := range letters {
		k := key(l)
		if n[k]++; n[k] == 1 {
			keys = append(keys, k)
		}
	}
	return keys, n
}

// dryReplay says what replayLetters would do: one of each sort stands for all.
func dryReplay(cmd *cobra.Command, b *bus.Bus, letters []brief, to dead.Trigger) error {
	sort := func(l brief) brief { l.id.Sequence = 0; return l }
	one := map[brief]dead.ID{}
	for _, l := range letters {
		if _, ok := one[sort(l)]; !ok {
			one[sort(l)] = l.id
		}
	}
	sorts, n := count(letters, sort)
	replayed := "replayed"
	if to != (dead.Trigger{}) {
		replayed += " to " + to.String()
	}
	t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAMESPACE\tTRIGGER\tKIND\tLETTERS\tWOULD BE")
	for _, k := range sorts {
		l, err := b.Letter(cmd.Context(), one[k])
		if err == nil {
			err = b.CheckReplay(cmd.Context(), l, to)
		}
		would := replayed
		switch {
		case refused(err):
			would = "refused: " + refusal(k, to, err)
		case errors.Is(err, bus.ErrNotFound):
		case err != nil:
			return err
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", k.id.Namespace, dead.Printable(k.trigger.String()), k.kind, n[k], would)
	}
	return t.Flush()
}

func deadPurgeCommand() *cobra.Command {
	var r reachFlags
	var s selection
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "purge [ID]...",
		Short: "Remove dead letters for good",
		Long: `purge removes dead letters for good, and with them the messages that they keep. It
asks before, unless --yes is given.
` + reachHelp,
		Example: `  serviceful dead purge coop/42
  serviceful dead purge -n coop --reason Rejected --until 30d --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return withLetters(cmd, &r, &s, args, func(b *bus.Bus, letters []brief) error {
				if dryRun {
					return listCounts(cmd.OutOrStdout(), letters)
				}
				if !yes {
					if err := confirm(cmd, letters); err != nil {
						return err
					}
				}
				return purgeLetters(cmd, b, letters)
			})
		},
	}
	r.add(cmd.Flags())
	s.add(cmd.Flags())
	s.addAll(cmd.Flags())
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be removed, and change nothing")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// listCounts writes how many letters there are of each trigger.
func listCounts(w io.Writer, letters []brief) error {
	triggers, n := count(letters, func(l brief) brief { return brief{id: dead.ID{Namespace: l.id.Namespace}, trigger: l.trigger} })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAMESPACE\tTRIGGER\tLETTERS")
	for _, k := range triggers {
		fmt.Fprintf(t, "%s\t%s\t%d\n", k.id.Namespace, dead.Printable(k.trigger.String()), n[k])
	}
	return t.Flush()
}

// confirm asks a person, and refuses where there is none.
func confirm(cmd *cobra.Command, letters []brief) error {
	if !isTerminal(cmd.InOrStdin()) {
		return errors.New("--yes is needed where nobody can be asked")
	}
	if err := listCounts(cmd.ErrOrStderr(), letters); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Remove %s for good? [y/N] ", counted(len(letters), "dead letter"))
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); err != nil || a != "y" && a != "yes" {
		return errors.New("nothing was removed")
	}
	return nil
}

func purgeLetters(cmd *cobra.Command, b *bus.Bus, letters []brief) error {
	gone := 0
	p := pace{out: cmd.ErrOrStderr(), what: "removing"}
	done, err := p.each(cmd.Context(), len(letters), func(ctx context.Context, i int) error {
		err := b.DeleteLetter(ctx, letters[i].id)
		if errors.Is(err, bus.ErrNotFound) {
			gone++
			return nil
		}
		return err
	})
	s := summary{}
	s.add(done-gone, "removed")
	s.add(gone, "were gone")
	s.add(len(letters)-done, "left")
	fmt.Fprintln(cmd.OutOrStdout(), s.String())
	if err == nil {
		err = interrupted(cmd, done < len(letters))
	}
	return err
}
