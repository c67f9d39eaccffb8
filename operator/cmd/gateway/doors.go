package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/serviceful/serviceful/operator/cmd/internal/dataplane"
	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/gateway"
	"github.com/serviceful/serviceful/operator/internal/identity"
	"github.com/serviceful/serviceful/operator/internal/metrics"
	"github.com/serviceful/serviceful/operator/internal/serve"
	"github.com/serviceful/serviceful/operator/internal/services"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// doors are both doors and what they share.
type doors struct {
	*dataplane.Plane
	o        options
	in       metrics.Inlet
	draining atomic.Bool
}

// run serves until ctx ends, and then stops: 1 it says that it is not ready, 2 it
// takes requests until nobody sends any here, the last of each connection, 3 the
// public door drains, 4 the services door drains, which the functions called
// through the first one use, 5 what both lean on is given up.
func run(ctx context.Context, o options) error {
	plane, err := dataplane.Open(ctx, "gateway", o.domain, o.Options)
	if err != nil {
		return err
	}
	defer plane.Close()                                           // 5
	living, end := context.WithCancel(context.WithoutCancel(ctx)) // requests under way outlive ctx
	defer end()
	d := &doors{Plane: plane, o: o, in: plane.Metrics.Inlet(bus.Inlet{Bus: plane.Bus, Room: plane.Bus.WatchRoom(living)})}
	public, err := d.publicDoor()
	if err != nil {
		return err
	}
	inside, err := d.serviceDoor(ctx, public.Call)
	if err != nil {
		return err
	}
	defer inside.Close()
	outside, err := dataplane.Listen("--listen", d.o.listen, public)
	if err != nil {
		return err
	}
	defer outside.Close()
	d.Log.Info("serving", "listen", outside.Address(), "services", inside.Address())
	go d.Follow(living, func(context.Context, *wiring.Snapshot) error { return nil })
	<-ctx.Done()
	d.Log.Info("stopping")
	d.draining.Store(true) // 1
	outside.Drain()        // 2
	inside.Drain()
	time.Sleep(d.o.drainDelay)
	grace, cancel := context.WithTimeout(living, d.o.grace)
	defer cancel()
	outside.Stop(grace) // 3
	inside.Stop(grace)  // 4
	return nil
}

func (d *doors) publicDoor() (*gateway.Door, error) {
	return gateway.New(gateway.Config{
		World: d.World, Inbox: d.in, Calls: d.Bus, Snapshot: d.Snapshot, Ready: d.ready,
		SyncBody: d.o.maxBody, AsyncBody: d.o.maxAsync, Meter: d.Metrics.Gateway(), Logger: d.Log,
	})
}

func (d *doors) serviceDoor(ctx context.Context, call services.Call) (*serve.Server, error) {
	client, err := rest.HTTPClientFor(d.REST)
	if err != nil {
		return nil, fmt.Errorf("preparing to ask the API server for its keys: %w", err)
	}
	accounts, err := identity.NewAccounts(ctx, d.REST.Host, client, d.Log)
	if err != nil {
		return nil, err
	}
	door, err := services.New(services.Config{
		Identifier: accounts, Events: d.in, Buckets: d.in, Objects: d.in, Outbox: d.in, Call: call, Snapshot: d.Snapshot, Ready: d.ready,
		MaxBody: d.o.maxAsync, MailFrom: d.o.mailFrom,
	})
	if err != nil {
		return nil, err
	}
	return dataplane.Listen("--services", d.o.services, d.Metrics.Services(door))
}

// ready is nil until it stops. That NATS is away makes no gateway unready: all
// would be at once, and synchronous requests need none.
func (d *doors) ready() error {
	if d.draining.Load() {
		return errors.New("it is stopping")
	}
	return nil
}
