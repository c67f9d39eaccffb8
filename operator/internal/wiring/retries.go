package wiring

import (
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// retriesAtOnce is how many retries of a namespace are on their way to the event log
// at once: few, since handing them out is work of the same moment, and enough to wait
// for servers that agree on what they store.
const retriesAtOnce = 16

// retries adds the relay of a namespace's retries.
func (c *compiler) retries(namespace string) {
	c.relay(namespace, names.Retries(namespace), func(s *Subscription) {
		s.Trigger, s.Consumer, s.Filters = names.RetriesConsumer, names.RetriesConsumer, []string{names.DueFilter(namespace)}
		s.Concurrency, s.Policy = retriesAtOnce, delivery.Policy{Source: delivery.DueRetry}
	})
}
