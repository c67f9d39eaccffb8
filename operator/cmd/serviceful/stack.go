package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/dispatch"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/identity"
	"github.com/serviceful/serviceful/operator/internal/local/datadir"
	"github.com/serviceful/serviceful/operator/internal/local/deploy"
	"github.com/serviceful/serviceful/operator/internal/local/mailbox"
	"github.com/serviceful/serviceful/operator/internal/local/process"
	"github.com/serviceful/serviceful/operator/internal/mail"
	"github.com/serviceful/serviceful/operator/internal/manifest"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/services"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// How long a stop may take: its parts share stopGrace, and each gets stopLeast
// where those before it have used that up.
const (
	stopGrace = 10 * time.Second
	stopLeast = time.Second
)

// stack is everything that runs in `serviceful dev`.
type stack struct {
	o   devOptions
	log *slog.Logger

	data       *datadir.Dir
	nats       *bus.Embedded
	layout     bus.Layout
	tokens     identity.Tokens
	processes  *process.Processes
	deployer   *deploy.Deployer
	dispatcher *dispatch.Dispatcher
	public     *serve.Server
	services   *serve.Server
	gateway    atomic.Pointer[gateway.Door] // nil until it is up: the services are before it

	snapshot  atomic.Pointer[wiring.Snapshot]
	wired     atomic.Bool
	applying  sync.Mutex           // of what follows, while the program runs
	manifests []*manifest.Manifest // what was read last and is good
	gone      departures
	held      bool                    // a queue waits for its trigger of before to be retired
	due       *time.Timer             // when some of them have been gone for long enough
	closers   []func(context.Context) // in the order they were opened
}

// startStack brings everything up in order, up to the first snapshot. What it
// opened is closed again when it fails.
func startStack(ctx context.Context, o devOptions, log *slog.Logger) (_ *stack, err error) {
	s := &stack{o: o, log: log, gone: newDepartures(), due: time.NewTimer(0)}
	s.due.Stop()
	s.snapshot.Store(wiring.Compile(nil, wiring.Hosts{}))
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.data, err = datadir.Open(o.data); err != nil {
		return nil, err
	}
	s.onStop(func(context.Context) { _ = s.data.Close() })
	recovered := make(chan error, 1) // NATS recovers its files while manifests are read
	go func() { recovered <- s.startNATS() }()
	s.manifests, err = readManifests(o.out, o.folders)
	if err := errors.Join(err, <-recovered); err != nil {
		return nil, err
	}
	for _, step := range []func() error{s.startServices, s.startProcesses, s.startDispatcher, s.startGateway} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	s.letIn(ctx)
	return s, s.apply(ctx)
}

// onStop has f called by stop. Its context ends when the time is up: f breaks off
// then what is left.
func (s *stack) onStop(f func(ctx context.Context)) { s.closers = append(s.closers, f) }

// stop ends everything in the opposite order: 1 the public door drains, 2 the
// dispatcher stops pulling and ends its calls, 3 functions end, 4 the services
// door, which they lean on to the last, drains, 5 NATS writes out, 6 the data
// folder is given up.
func (s *stack) stop() { s.stopBy(time.Now().Add(stopGrace)) }

// stopBy is stop with one deadline for all of it.
func (s *stack) stopBy(deadline time.Time) {
	s.wired.Store(false)
	for _, f := range slices.Backward(s.closers) {
		by := deadline
		if least := time.Now().Add(stopLeast); by.Before(least) {
			by = least
		}
		ctx, cancel := context.WithDeadline(context.Background(), by)
		f(ctx)
		cancel()
	}
	s.closers = nil
}

func (s *stack) startNATS() (err error) {
	s.nats, err = bus.StartEmbedded(bus.EmbeddedConfig{Dir: s.data.Path("nats"), MaxStore: int64(s.o.maxStore), Logger: s.log})
	if err != nil {
		return err
	}
	s.onStop(func(context.Context) { s.nats.Stop() })
	b, err := s.connect("control")
	s.layout = bus.Layout{Bus: b, Mailbox: true, AckWait: s.o.ackWait}
	return err
}

// letIn lets `serviceful dead` and `serviceful replay` in. All the rest does
// without.
func (s *stack) letIn(ctx context.Context) {
	l, err := s.data.Listen(ctx)
	if err != nil {
		s.log.Warn("serviceful dead and replay will not work", "error", err)
		return
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := s.nats.Serve(l); err != nil {
			s.log.Warn("serviceful dead and replay work no more", "error", err)
		}
	}()
	s.onStop(func(context.Context) {
		_ = l.Close()
		<-served
	})
}

// connect opens a connection of its own for each part, as in a cluster.
func (s *stack) connect(name string) (*bus.Bus, error) {
	nc, err := s.nats.Connect(name)
	if err != nil {
		return nil, err
	}
	s.onStop(func(context.Context) { nc.Close() })
	return bus.New(nc)
}

func (s *stack) startProcesses() (err error) {
	s.processes, err = process.New(process.Config{
		Dir: s.data.Path("."), ServicesURL: reachable(s.services), Output: s.o.out, Color: s.o.color,
		Start: s.o.start, Issue: s.tokens.Issue, Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.onStop(s.processes.Stop)
	s.deployer, err = deploy.New(deploy.Config{
		Dir: s.data.Path("."), Roots: s.o.folders, NoWatch: s.o.noWatch, Processes: s.processes, Progress: s.o.out, Logger: s.log,
	})
	return err
}

func (s *stack) startServices() error {
	b, err := s.connect("services")
	if err != nil {
		return err
	}
	in := bus.Inlet{Bus: b, Room: s.nats.Room}
	box := &mailbox.Mailbox{Bus: b, Namespaces: func() map[string]bool { return s.snapshot.Load().Namespaces() }}
	door, err := services.New(services.Config{
		Identifier: &s.tokens, Events: in, Buckets: in, Objects: in, Outbox: in, Call: s.call, Snapshot: s.snapshot.Load, Ready: s.ready,
		MaxBody: int64(s.o.maxAsync), MailFrom: s.o.mailFrom, Mailbox: box,
	})
	if err != nil {
		return err
	}
	s.services, err = s.listen("--services", s.o.services, door)
	return err
}

func (s *stack) startDispatcher() error {
	b, err := s.connect("dispatcher")
	if err != nil {
		return err
	}
	box := &mailbox.Mailbox{Bus: b}
	if s.o.smtp != "" {
		sender, err := mail.NewSMTP(mail.Config{Address: s.o.smtp, From: s.o.mailFrom, Domain: "serviceful.localhost"})
		if err != nil {
			return fmt.Errorf("--smtp %q: %w", s.o.smtp, err)
		}
		s.onStop(func(context.Context) { sender.Close() })
		box.Sender = sender
	}
	s.dispatcher, err = dispatch.New(dispatch.Config{
		Source: b, Claims: b, Keeper: bus.Outlet{Bus: b, Room: s.nats.Room}, Clocks: b, Events: b, Changes: b, World: process.Background{Processes: s.processes},
		Mailer: box, Snapshot: s.snapshot.Load, Grace: stopGrace, AckWait: s.o.ackWait, Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.onStop(s.dispatcher.Stop)
	return nil
}

func (s *stack) startGateway() error {
	b, err := s.connect("gateway")
	if err != nil {
		return err
	}
	door, err := gateway.New(gateway.Config{
		World: s.processes, Inbox: bus.Inlet{Bus: b, Room: s.nats.Room}, Calls: b, Snapshot: s.snapshot.Load, Ready: s.ready,
		SyncBody: int64(s.o.maxBody), AsyncBody: int64(s.o.maxAsync), Logger: s.log,
	})
	if err != nil {
		return err
	}
	s.gateway.Store(door)
	s.public, err = s.listen("--listen", s.o.listen, door)
	return err
}

// call takes a request from one function to another.
func (s *stack) call(w http.ResponseWriter, r *http.Request, f names.Function, timeout time.Duration) error {
	door := s.gateway.Load()
	if door == nil {
		return serve.NewProblem(http.StatusServiceUnavailable, "not-ready", "the functions are not wired yet")
	}
	return door.Call(w, r, f, timeout)
}

// listen serves a door until the program stops. flag is what its address was
// given by.
func (s *stack) listen(flag, address string, door http.Handler) (*serve.Server, error) {
	server, err := serve.Start(address, door)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	s.onStop(server.Stop)
	return server, nil
}

// reachable is the base URL of a door for programs on this machine, also when it
// listens on every interface.
func reachable(door *serve.Server) string {
	address := door.Address()
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().IsUnspecified() {
		address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
	}
	return "http://" + address
}

func (s *stack) ready() error {
	if !s.wired.Load() {
		return errors.New("the functions are not wired yet")
	}
	if !s.nats.Healthy() {
		return errBroken
	}
	return nil
}

var errBroken = errors.New("nothing can be stored: the disk is full or broken; make room and start again")

// guard tells those who do not ask /readyz, once, that nothing can be stored any
// more. A stream that is being made is not healthy either, for a moment.
func (s *stack) guard(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for failed := 0; failed < 3; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if failed++; s.nats.Healthy() {
			failed = 0
		}
	}
	s.log.Error("not ready any more", "error", errBroken)
}
