package wiring

import (
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// retriesAtOnce is how many retries of a namespace are on their way to the event log
// at once. A dispatcher lets half of them wait for their turn (dispatch/pace.go), a
// millisecond apart: so those that are due in a quarter of a second, at whose end NATS
// hands them out, are spread over as long.
const retriesAtOnce = 512

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
