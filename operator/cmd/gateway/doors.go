package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/identity"
	"github.com/serviceful/serviceful/operator/internal/kube"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/services"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// doors are both doors and what they share.
type doors struct {
	o        options
	log      *slog.Logger
	in       bus.Inlet
	world    *kube.World
	snapshot atomic.Pointer[wiring.Snapshot]
	draining atomic.Bool
}

// run serves until ctx ends, and then stops: 1 it says that it is not ready, 2 it
// takes requests until nobody sends any here, 3 the public door drains, 4 the
// services door drains, which the functions called through the first one use.
func (d *doors) run(ctx, living context.Context, config *rest.Config) error {
	first, err := d.world.Compile(ctx)
	if err != nil {
		return err
	}
	d.snapshot.Store(first)
	public, err := d.publicDoor()
	if err != nil {
		return err
	}
	inside, err := d.serviceDoor(ctx, config, public.Call)
	if err != nil {
		return err
	}
	outside, err := listen("--listen", d.o.listen, public)
	if err != nil {
		return err
	}
	d.log.Info("serving", "listen", outside.Address(), "services", inside.Address())
	go d.world.Follow(living, func(_ context.Context, s *wiring.Snapshot) error {
		d.snapshot.Store(s)
		return nil
	})
	<-ctx.Done()
	d.log.Info("stopping")
	d.draining.Store(true)
	time.Sleep(d.o.drainDelay)
	grace, cancel := context.WithTimeout(context.Background(), d.o.grace)
	defer cancel()
	outside.Stop(grace)
	inside.Stop(grace)
	return nil
}

func (d *doors) publicDoor() (*gateway.Door, error) {
	return gateway.New(gateway.Config{
		World: d.world, Inbox: d.in, Calls: d.in.Bus, Snapshot: d.snapshot.Load, Ready: d.ready,
		SyncBody: d.o.maxBody, AsyncBody: d.o.maxAsync, Logger: d.log,
	})
}

func (d *doors) serviceDoor(ctx context.Context, config *rest.Config, call services.Call) (*serve.Server, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing to ask the API server for its keys: %w", err)
	}
	accounts, err := identity.NewAccounts(ctx, config.Host, client)
	if err != nil {
		return nil, err
	}
	door, err := services.New(services.Config{
		Identifier: accounts, Events: d.in, Buckets: d.in, Objects: d.in, Outbox: d.in, Call: call, Snapshot: d.snapshot.Load, Ready: d.ready,
		MaxBody: d.o.maxAsync, MailFrom: d.o.mailFrom,
	})
	if err != nil {
		return nil, err
	}
	return listen("--services", d.o.services, door)
}

func listen(flag, address string, door http.Handler) (*serve.Server, error) {
	server, err := serve.Start(address, door)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return server, nil
}

func (d *doors) ready() error {
	switch {
	case d.draining.Load():
		return errors.New("it is stopping")
	case !d.in.Connected():
		return errors.New("NATS cannot be reached")
	}
	return nil
}
