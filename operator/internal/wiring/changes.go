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
	c.relay(f.Namespace, names.BucketStream(f.Namespace, source.Bucket), func(s *Subscription) {
		s.Trigger, s.Bucket, s.Filters = names.BucketPath(source.Bucket), source.Bucket, []string{names.Key(f.Namespace, source.Bucket, ">")}
		s.ofChanges()
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
	c.relay(f.Namespace, names.StoreStream(f.Namespace, source.Store), func(s *Subscription) {
		s.Trigger, s.Store, s.Filters = names.StorePath(source.Store), source.Store, []string{names.ObjectInfoFilter(f.Namespace, source.Store)}
		s.ofChanges()
	})
}

// ofChanges makes the subscription a relay of changes. It takes one change at a time,
// over all dispatchers: so they are in the log in their order.
func (s *Subscription) ofChanges() {
	s.Consumer, s.Concurrency, s.Policy = names.ChangesConsumer, 1, delivery.Policy{Source: delivery.Change}
}
