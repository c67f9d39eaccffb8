package dispatch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/invoke"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/order"
	"github.com/serviceful/serviceful/operator/internal/schedule"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// World gives a ready instance of a function, starting one where there is none.
// Its errors mean that the function was not called.
type World interface {
	Acquire(ctx context.Context, f names.Function) (invoke.Lease, error)
}

// Source hands out the messages of a durable consumer, and knows since when the
// consumer calls, and what it has handed out.
type Source interface {
	Consume(ctx context.Context, stream, consumer string, max int, handle func(*bus.Delivered)) (stop func(), err error)
	Since(ctx context.Context, stream, consumer string) (time.Time, error)
	Outstanding(ctx context.Context, stream, consumer string) (bus.Outstanding, error)
}

// Claims keeps which dispatcher calls an ordered trigger.
type Claims interface {
	Claim(ctx context.Context, f names.Function, trigger string) (order.Claim, error)
	StoreClaim(ctx context.Context, f names.Function, trigger string, c order.Claim) (revision uint64, err error)
}

// Keeper stores what a settled message leaves behind.
type Keeper interface {
	Store(ctx context.Context, m *envelope.Message) (bus.Stored, error)
	Bury(ctx context.Context, m *envelope.Message, end bus.Ending) error
	StoreResult(ctx context.Context, item names.WorkItem, state envelope.State, end bus.Ending) error
}

// Clocks sets the clocks of schedules.
type Clocks interface {
	SetClock(ctx context.Context, f names.Function, trigger string, to schedule.Fired) error
}

// EventLog stores the events that functions answer with.
type EventLog interface {
	PublishEvents(ctx context.Context, namespace string, events []*event.Event) error
}

// ChangeLog stores the events that tell of changes in buckets and object stores.
type ChangeLog interface {
	TellChange(ctx context.Context, m *envelope.Message) error
}

// Mailer hands a mail over for good.
type Mailer interface {
	Send(ctx context.Context, namespace string, m mail.Message) error
}

var (
	_ Source    = (*bus.Bus)(nil)
	_ Claims    = (*bus.Bus)(nil)
	_ Keeper    = (*bus.Bus)(nil)
	_ Clocks    = (*bus.Bus)(nil)
	_ EventLog  = (*bus.Bus)(nil)
	_ ChangeLog = (*bus.Bus)(nil)
)

// Config is what a Dispatcher needs; all but Transport, Grace, AckWait, Memory and
// Meter is required.
type Config struct {
	Source    Source
	Claims    Claims
	Keeper    Keeper
	Clocks    Clocks
	Events    EventLog
	Changes   ChangeLog
	World     World
	Mailer    Mailer
	Snapshot  func() *wiring.Snapshot // the current one
	Transport http.RoundTripper       // default: invoke.NewTransport
	Grace     time.Duration           // for calls under way when it stops; default 10 s
	AckWait   time.Duration           // of the consumers; default bus.AckWait
	Memory    int64                   // bytes of all messages at work; default 256 MiB
	Meter     Meter                   // default: nothing is measured
	Logger    *slog.Logger
}

// Dispatcher runs a worker for each subscription.
type Dispatcher struct {
	cfg      Config
	memory   memory
	apart    apart
	calls    pace           // those that are repeated
	retries  pace           // on their way to the event log
	draining sync.WaitGroup // workers that end their calls

	mu      sync.Mutex // held while workers start, never while calls end
	wanted  map[string]*wiring.Subscription
	workers map[string]deliverer
	drains  map[string]context.CancelFunc // ends the Grace of what drains
}

// deliverer delivers the messages of one subscription until it is stopped.
type deliverer interface {
	start(ctx context.Context) error
	change(sub *wiring.Subscription) // to what it is now
	stop(ctx context.Context)
	orderBy() string
}

func (d *Dispatcher) deliverer(sub *wiring.Subscription) deliverer {
	room, pace := &d.memory, &d.calls
	switch {
	case sub.RelaysChanges(): // it has one message at a time, which waits for no function's
		room = new(memory)
	case sub.Relays():
		pace = &d.retries
	}
	s := newSteps(&d.cfg, room, &d.apart, pace, sub)
	if sub.OrderBy != "" {
		return newOrdered(s)
	}
	return newWorker(s)
}

// New is a Dispatcher without workers.
func New(cfg Config) (*Dispatcher, error) {
	if cfg.Source == nil || cfg.Claims == nil || cfg.Keeper == nil || cfg.Clocks == nil || cfg.Events == nil || cfg.Changes == nil || cfg.World == nil || cfg.Mailer == nil || cfg.Snapshot == nil || cfg.Logger == nil {
		return nil, errors.New("dispatch: the configuration is not complete")
	}
	if cfg.Transport == nil {
		cfg.Transport = invoke.NewTransport()
	}
	if cfg.Meter == nil {
		cfg.Meter = noMeter{}
	}
	cfg.Grace = cmp.Or(cfg.Grace, 10*time.Second)
	cfg.AckWait = cmp.Or(cfg.AckWait, bus.AckWait)
	cfg.Memory = cmp.Or(cfg.Memory, 256<<20)
	return &Dispatcher{
		cfg: cfg, memory: memory{limit: cfg.Memory}, apart: apart{lines: map[names.Function]*line{}},
		workers: map[string]deliverer{}, drains: map[string]context.CancelFunc{},
	}, nil
}

// Apply starts a worker for each subscription of s whose consumer exists, stops
// those of subscriptions that are gone, and hands changed ones their new
// subscription; one with another order gets another worker. It waits for no call:
// calls under way of a worker that is gone get Grace to end, and one that is to take
// its place starts after them.
func (d *Dispatcher) Apply(ctx context.Context, s *wiring.Snapshot) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = make(map[string]*wiring.Subscription, len(s.Subscriptions))
	for _, sub := range s.Subscriptions {
		if !sub.Held {
			d.wanted[sub.Key()] = sub
		}
	}
	for key, w := range d.workers {
		if sub := d.wanted[key]; sub == nil || sub.OrderBy != w.orderBy() {
			d.drain(ctx, key, w)
		}
	}
	var errs []error
	for key, sub := range d.wanted {
		if w := d.workers[key]; w != nil {
			w.change(sub)
		} else if d.drains[key] == nil {
			errs = append(errs, d.work(ctx, key, sub))
		}
	}
	return errors.Join(errs...)
}

// work starts a worker. mu is held.
func (d *Dispatcher) work(ctx context.Context, key string, sub *wiring.Subscription) error {
	w := d.deliverer(sub)
	err := w.start(ctx)
	if err == nil {
		d.workers[key] = w
	}
	return err
}

// drain stops a worker, and then starts the one that is wanted in its place: so
// there are never two of a subscription. mu is held.
func (d *Dispatcher) drain(ctx context.Context, key string, w deliverer) {
	delete(d.workers, key)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.drains[key] = cancel
	d.draining.Go(func() {
		defer cancel()
		w.stop(ctx)
		for !d.succeed(ctx, key) {
			sleep(ctx, busyPause)
		}
	})
}

// succeed starts the worker that is wanted after one that has drained. It reports
// false when that is to be tried again.
func (d *Dispatcher) succeed(ctx context.Context, key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if sub := d.wanted[key]; sub != nil {
		if err := d.work(context.WithoutCancel(ctx), key, sub); err != nil {
			d.cfg.Logger.Error("starting a trigger again", "function", sub.Function.String(), "trigger", sub.Trigger, "error", err, "again_in", busyPause)
			return false
		}
	}
	delete(d.drains, key)
	return true
}

// Uses reports whether a subscription is pulled or called, also one that is gone:
// until its calls have ended.
func (d *Dispatcher) Uses(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.workers[key] != nil || d.drains[key] != nil
}

// Stop stops all workers: first the pulling, then, after Grace or when ctx is
// done, the calls still under way. What was not settled is handed back.
func (d *Dispatcher) Stop(ctx context.Context) {
	d.mu.Lock()
	d.wanted = nil
	for key, w := range d.workers {
		d.drain(ctx, key, w)
	}
	for _, cancel := range d.drains {
		defer context.AfterFunc(ctx, cancel)()
	}
	d.mu.Unlock()
	d.draining.Wait()
}
