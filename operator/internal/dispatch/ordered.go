package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/order"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// ordered delivers the messages of a subscription that are called in order. It
// takes the same steps as a worker; which message is next is for a session to say,
// and there is one while this dispatcher has the claim to call the trigger.
type ordered struct {
	*steps
	claim   order.Contender // of run's goroutine
	changed chan struct{}   // the subscription has

	unwait  context.CancelFunc // ends waiting: nothing new is called
	uncall  context.CancelFunc // ends calling: calls under way are broken off
	running sync.WaitGroup
	session atomic.Pointer[session] // nil: there is none
}

func newOrdered(s *steps) *ordered {
	return &ordered{steps: s, changed: make(chan struct{}, 1), claim: order.Contender{ID: rand.Text(), Term: s.cfg.AckWait}}
}

// start begins to contend for the claim. It outlives ctx.
func (o *ordered) start(ctx context.Context) error {
	calling, uncall := context.WithCancel(context.WithoutCancel(ctx))
	waiting, unwait := context.WithCancel(calling)
	o.uncall, o.unwait = uncall, unwait
	o.running.Go(func() { o.run(waiting, calling) })
	return nil
}

// stop ends it: 1 nothing new is called, 2 calls under way get Grace to end, 3 the
// rest is broken off, and what was not settled is handed back, and the claim.
func (o *ordered) stop(ctx context.Context) {
	o.unwait()
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Grace)
	context.AfterFunc(ctx, o.uncall)
	o.running.Wait()
	cancel()
	o.uncall()
}

// change hands it the subscription as it is now.
func (o *ordered) change(sub *wiring.Subscription) {
	o.sub.Store(sub)
	select {
	case o.changed <- struct{}{}:
	default:
	}
	if s := o.session.Load(); s != nil {
		s.goOn()
	}
}

// run has one session after the other, each while it has the claim, until waiting
// ends.
func (o *ordered) run(waiting, calling context.Context) {
	for waiting.Err() == nil {
		claim, err := o.contend(waiting)
		if err != nil {
			return
		}
		o.log.Info("calls in order from here", "revision", claim.Revision)
		s := newSession(o, claim.Tried)
		err = s.run(waiting, calling)
		o.leave(calling, s.tried())
		if err != nil && waiting.Err() == nil {
			o.log.Warn("calling in order was broken off, and begins anew", "error", err)
			sleep(waiting, o.cfg.AckWait/looks)
		}
	}
}

// looks is how often in a term a contender looks at a claim that is another's, and
// renewals how often its holder renews it.
const (
	looks    = 15
	renewals = 6
)

// contend waits until the trigger is to be called and the claim is had, and returns
// what the holder before left behind. It fails when ctx ends.
func (o *ordered) contend(ctx context.Context) (order.Claim, error) {
	pause := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return order.Claim{}, ctx.Err()
		case <-o.changed:
		case <-time.After(pause):
		}
		pause = o.cfg.AckWait / looks
		if o.sub.Load().Paused {
			continue
		}
		claim, err := o.look(ctx)
		if err == nil && o.claim.MayStore(time.Now()) {
			err = o.store(ctx, o.claim.ID, claim.Tried)
			if err == nil {
				return claim, nil
			}
		}
		if err != nil && !errors.Is(err, bus.ErrConflict) && ctx.Err() == nil {
			o.log.Debug("asking for the claim to call in order", "error", err)
		}
	}
}

func (o *ordered) look(ctx context.Context) (order.Claim, error) {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.AckWait/renewals)
	defer cancel()
	sub := o.sub.Load()
	claim, err := o.cfg.Claims.Claim(ctx, sub.Function, sub.Trigger)
	if err == nil {
		o.claim.Read(claim, time.Now())
	}
	return claim, err
}

// store stores who has the claim: this one, or nobody.
func (o *ordered) store(ctx context.Context, holder string, tried map[uint64]order.Tried) error {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.AckWait/renewals)
	defer cancel()
	sub, asked := o.sub.Load(), time.Now()
	revision, err := o.cfg.Claims.StoreClaim(ctx, sub.Function, sub.Trigger, order.Claim{Holder: holder, Tried: tried, Revision: o.claim.Revision()})
	if err == nil && holder != "" {
		o.claim.Stored(revision, asked)
	}
	return err
}

// errClaimLost is why a session ends that could not renew the claim in time.
var errClaimLost = errors.New("the claim to call in order could not be renewed in time")

// keepClaim renews the claim until ctx ends, and calls lost at the moment from
// which another one may have it, whatever a request to NATS is waiting for then.
func (o *ordered) keepClaim(ctx context.Context, tried func() map[uint64]order.Tried, lost func(error)) {
	fence := time.AfterFunc(time.Until(o.claim.Until()), func() { lost(errClaimLost) })
	defer fence.Stop()
	for pause := o.cfg.AckWait / renewals; ; {
		sleep(ctx, pause)
		if ctx.Err() != nil {
			return
		}
		pause = o.renew(ctx, tried())
		fence.Reset(time.Until(o.claim.Until()))
	}
}

// renew renews the claim, and returns when it is to be done again.
func (o *ordered) renew(ctx context.Context, tried map[uint64]order.Tried) time.Duration {
	err := o.store(ctx, o.claim.ID, tried)
	if errors.Is(err, bus.ErrConflict) { // it is another's, or was renewed by a request whose answer was lost
		_, _ = o.look(ctx)
		return 0
	}
	if err != nil {
		o.log.Debug("renewing the claim to call in order", "error", err)
		return o.cfg.AckWait / renewals / 4
	}
	return o.cfg.AckWait / renewals
}

// leave gives the claim up, with what the next one has to know. If that cannot be
// stored, the next one has it when its term is over.
func (o *ordered) leave(ctx context.Context, tried map[uint64]order.Tried) {
	if o.claim.Until().IsZero() { // it is another's
		return
	}
	o.claim.Leave()
	if err := o.store(context.WithoutCancel(ctx), "", tried); err != nil {
		o.log.Debug("leaving the claim to call in order", "error", err)
	}
}
