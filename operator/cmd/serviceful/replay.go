package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dead"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

func replayCommand() *cobra.Command {
	var r reachFlags
	var o historyOptions
	cmd := &cobra.Command{
		Use:   "replay --from TIME [--to TIME] -n NAMESPACE --trigger FUNCTION/TRIGGER",
		Short: "Send a part of the event log to one trigger again",
		Long: `replay sends events of the last 7 days, which the log keeps, to one trigger again, and
to no other: those of the types that the trigger hears, stored from --from on and
before --to, in the log's order. The trigger's filters decide as ever. To give a new
function what an old one has had, name a trigger of the new one.

Events keep their ids, attempts begin anew, and maxAge counts from now. It does not
wait for the function: --rate says how fast events are stored for it, and the
trigger's own concurrency how many it gets at once.

Each run has an id, which is printed. --resume goes on with a run that was
interrupted, given the same other flags, of which relative times count from when the
run began. What the run has stored, the log itself knows: an event is stored once by
a run, however often it is resumed, as long as the log keeps what the run has stored
(7 days) and nobody else resumes it at the same time. Delivery is at least once, as
of every event.
` + reachHelp,
		Example: `  serviceful replay -n coop --trigger offers/welcome --from 2h --dry-run
  serviceful replay -n coop --trigger offers2/welcome --from 2026-01-02T15:00:00Z --to 2026-01-02T16:00:00Z --rate 20`,
		Args: onlyFlags,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := o.resolve(time.Now(), rand.Uint32N)
			if err != nil {
				return err
			}
			b, leave, err := r.reach(cmd)
			if err != nil {
				return err
			}
			defer leave()
			return h.run(cmd, b)
		},
	}
	r.add(cmd.Flags())
	f := cmd.Flags()
	f.StringVarP(&o.namespace, "namespace", "n", "default", "namespace of the function")
	f.StringVar(&o.trigger, "trigger", "", "the trigger, FUNCTION/TRIGGER")
	f.StringVar(&o.from, "from", "", "the first events: how long ago, such as 2h30m or 7d, or an RFC 3339 time")
	f.StringVar(&o.to, "to", "0s", "the end of the events; what was stored at that time is not sent")
	f.StringSliceVar(&o.types, "type", nil, "only events of this type, or of a prefix such as offers.*; may be given several times")
	f.StringVar(&o.resume, "resume", "", "id of a run to go on with")
	f.BoolVar(&o.dryRun, "dry-run", false, "count the events, and send none")
	f.Float64Var(&o.rate, "rate", defaultRate, "most events a second; 0: as fast as it goes")
	return cmd
}

// historyOptions are the flags of `serviceful replay`.
type historyOptions struct {
	namespace, trigger, from, to, resume string
	types                                []string
	dryRun                               bool
	rate                                 float64
}

// history is one run, checked.
type history struct {
	bus.Rerun
	from, to time.Time
	types    []string
	resumed  bool
	dryRun   bool
	rate     float64
}

func (o *historyOptions) resolve(now time.Time, dice func(uint32) uint32) (h history, err error) {
	if o.trigger == "" || o.from == "" {
		return h, errors.New("--trigger FUNCTION/TRIGGER and --from TIME are needed")
	}
	t, err := dead.ParseTrigger(o.trigger)
	if err != nil {
		return h, fmt.Errorf("--trigger: %w", err)
	}
	if err = (dead.Filter{Types: o.types}).Validate(); err != nil {
		return h, fmt.Errorf("--type: %w", err)
	}
	if o.rate < 0 {
		return h, errRate
	}
	h = history{types: o.types, resumed: o.resume != "", dryRun: o.dryRun, rate: o.rate}
	h.Rerun = bus.Rerun{Function: names.Function{Namespace: o.namespace, Name: t.Function}, Trigger: t.Name, ID: newRun(now, dice), Began: now}
	if h.resumed {
		h.ID = o.resume
		if h.Began, err = beganAt(o.resume); err != nil {
			return h, err
		}
	}
	if h.from, err = dead.ParseTime(o.from, h.Began); err != nil {
		return h, fmt.Errorf("--from: %w", err)
	}
	if h.to, err = dead.ParseTime(o.to, h.Began); err != nil {
		return h, fmt.Errorf("--to: %w", err)
	}
	if !h.from.Before(h.to) {
		return h, fmt.Errorf("nothing is from %s to %s", h.from.Format(time.RFC3339), h.to.Format(time.RFC3339))
	}
	return h, nil
}

// newRun is the id of a run: when it began, and a little chance.
func newRun(now time.Time, dice func(uint32) uint32) string {
	return strconv.FormatInt(now.UnixMilli(), 36) + "x" + strconv.FormatUint(uint64(dice(36*36*36)), 36)
}

// runStart are the digits of the time in a run's id: enough until the year 2059.
const runStart = 8

// beganAt reads from a run's id when it began.
func beganAt(id string) (time.Time, error) {
	if len(id) > runStart+1 && id[runStart] == 'x' && strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyz") == "" {
		if ms, err := strconv.ParseInt(id[:runStart], 36, 64); err == nil {
			return time.UnixMilli(ms), nil
		}
	}
	return time.Time{}, fmt.Errorf("--resume: %q is not the id of a run", id)
}

func (h history) run(cmd *cobra.Command, b *bus.Bus) error {
	ctx := cmd.Context()
	subjects, err := b.Heard(ctx, h.Rerun)
	if errors.Is(err, bus.ErrNoTrigger) {
		return fmt.Errorf("function %s has no event trigger %s", h.Function, h.Trigger)
	}
	if err != nil {
		return err
	}
	sent, last := 0, uint64(0)
	if h.resumed {
		if sent, last, err = b.Sent(ctx, h.Rerun); err != nil {
			return err
		}
		if sent == 0 {
			return fmt.Errorf("run %s has sent nothing to trigger %s of function %s; begin anew without --resume", h.ID, h.Trigger, h.Function)
		}
	}
	var events []uint64
	err = b.Window(ctx, h.Function.Namespace, subjects, h.from, h.to, func(m *envelope.Message) error {
		eventType := m.Header.Get("ce-type")
		wanted := len(h.types) == 0 || slices.ContainsFunc(h.types, func(p string) bool { return names.MatchEventType(p, eventType) })
		if wanted && m.Sequence > last {
			events = append(events, m.Sequence)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if h.dryRun {
		fmt.Fprintf(cmd.OutOrStdout(), "%s would be sent to trigger %s of function %s\n", counted(len(events), "event"), h.Trigger, h.Function)
		return nil
	}
	return h.send(cmd, b, events, sent)
}

func (h history) send(cmd *cobra.Command, b *bus.Bus, events []uint64, before int) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "run %s: %s to trigger %s of function %s\n", h.ID, counted(len(events), "event"), h.Trigger, h.Function)
	room := bus.Inlet{Bus: b, Room: b.WatchRoom(cmd.Context())}
	gone := 0
	p := pace{rate: h.rate, out: cmd.ErrOrStderr(), what: "sending"}
	done, err := p.each(cmd.Context(), len(events), func(ctx context.Context, i int) error {
		err := room.Send(ctx, h.Rerun, events[i], time.Now())
		if errors.Is(err, bus.ErrNotFound) { // its time in the log was up
			gone++
			return nil
		}
		return err
	})
	s := summary{}
	s.add(done-gone, "sent")
	s.add(before, "sent before")
	s.add(gone, "no longer in the log")
	s.add(len(events)-done, "left")
	fmt.Fprintln(cmd.OutOrStdout(), s.String())
	if err == nil {
		_, err = b.Heard(context.WithoutCancel(cmd.Context()), h.Rerun)
	}
	switch {
	case errors.Is(err, bus.ErrNoTrigger):
		return fmt.Errorf("trigger %s of function %s was removed meanwhile, and with it what it had not got yet", h.Trigger, h.Function)
	case done < len(events) && cmd.Context().Err() != nil:
		return fmt.Errorf("interrupted; --resume %s goes on", h.ID)
	case err != nil:
		return fmt.Errorf("%w; --resume %s goes on", err, h.ID)
	}
	return nil
}
