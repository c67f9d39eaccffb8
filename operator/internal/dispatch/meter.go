package dispatch

import (
	"time"

	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/wiring"
)

// Meter is told of each message at work, by many goroutines at once. It must not
// block.
type Meter interface {
	Begin(sub *wiring.Subscription)
	End(sub *wiring.Subscription, a Attempt) // follows each Begin
}

// Attempt is what became of a message that was at work.
type Attempt struct {
	Settled  bool             // false: it was handed back, will come again, or had ended before; then nothing else is set
	Verdict  delivery.Verdict // what became of it
	Called   bool             // the function was called, or may have been
	Filtered bool             // an event that the trigger's filters do not let pass, or a schedule's time that was missed
	Took     time.Duration    // from being handed out to the end of the call, the wait for an instance included; 0 where there was none
	First    bool             // it had not been tried before
	Waited   time.Duration    // the first time: from being stored to being handed out
}

type noMeter struct{}

func (noMeter) Begin(*wiring.Subscription)        {}
func (noMeter) End(*wiring.Subscription, Attempt) {}
