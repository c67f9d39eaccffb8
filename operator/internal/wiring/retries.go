package wiring

import (
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// retriesAtOnce is how many retries of a namespace are on their way to the event log
// at once: few, since handing them out is work of the same moment, and enough to wait
// for servers that agree on what they store.
const retriesAtOnce = 16

// retries adds the relay of a namespace's retries, once.
func (c *compiler) retries(namespace string) {
	if c.retried[namespace] {
		return
	}
	c.retried[namespace] = true
	c.out.Subscriptions = append(c.out.Subscriptions, &Subscription{
		Function: names.Function{Namespace: namespace}, Trigger: names.RetriesConsumer,
		Stream: names.Retries(namespace), Consumer: names.RetriesConsumer,
		Filters:     []string{names.DueFilter(namespace)},
		Concurrency: retriesAtOnce,
		Policy:      delivery.Policy{Source: delivery.DueRetry},
	})
}
