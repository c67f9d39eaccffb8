package wiring

import (
	"cmp"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/filter"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// keyValue subscribes a trigger to the changes of a bucket's keys, as a relay
// stores them in the event log.
func (c *compiler) keyValue(fn *v1alpha1.Function, f names.Function, i int) {
	source := fn.Spec.Triggers[i].KeyValue
	c.hear(fn, f, i, names.KeyChanges(f.Namespace, source.Bucket, cmp.Or(source.Keys, ">"))).Bucket = source.Bucket
	c.relay(&Subscription{
		Function: names.Function{Namespace: f.Namespace}, Trigger: names.BucketPath(source.Bucket), Bucket: source.Bucket,
		Stream: names.BucketStream(f.Namespace, source.Bucket), Filters: []string{names.Key(f.Namespace, source.Bucket, ">")},
	})
}

// object subscribes a trigger to the changes of a store's objects.
func (c *compiler) object(fn *v1alpha1.Function, f names.Function, i int) {
	source := fn.Spec.Triggers[i].Object
	s := c.hear(fn, f, i, names.ObjectChanges(f.Namespace, source.Store))
	s.Store = source.Store
	if source.Keys != "" {
		s.Match = filter.Subject(source.Keys)
	}
	c.relay(&Subscription{
		Function: names.Function{Namespace: f.Namespace}, Trigger: names.StorePath(source.Store), Store: source.Store,
		Stream: names.StoreStream(f.Namespace, source.Store), Filters: []string{names.ObjectInfoFilter(f.Namespace, source.Store)},
	})
}

// relay adds the relay of a bucket's or a store's changes, once. It takes one
// change at a time, over all dispatchers: so they are in the log in their order.
func (c *compiler) relay(s *Subscription) {
	if c.watched[s.Stream] {
		return
	}
	c.watched[s.Stream] = true
	s.Consumer, s.Concurrency, s.Policy = names.ChangesConsumer, 1, delivery.Policy{Source: delivery.Change}
	c.out.Subscriptions = append(c.out.Subscriptions, s)
}
