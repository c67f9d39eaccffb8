package names

import "strings"

// Events is the stream that keeps a namespace's event log for seven days, and what
// is delivered to one of its event triggers again.
func Events(namespace string) string { return "EV_" + namespace }

// Retries is the stream that holds copies of a namespace's events until they are to
// be delivered to a trigger again.
func Retries(namespace string) string { return "RETRY_" + namespace }

// Work is the work-queue stream of a namespace: stored calls, mail and the
// messages of queues.
func Work(namespace string) string { return "WORK_" + namespace }

// Dead is the dead-letter stream of a namespace.
func Dead(namespace string) string { return "DEAD_" + namespace }

// Results is the stream of call results and idempotency records: the last
// message of each subject, kept 24 hours.
func Results(namespace string) string { return "RES_" + namespace }

// Mailbox is the stream behind the laptop's mailbox. A cluster has none.
func Mailbox(namespace string) string { return "MAILBOX_" + namespace }

// Bucket is the name of a key-value bucket as NATS clients spell it. A
// namespace has no underscore, so the first one ends it.
func Bucket(namespace, bucket string) string { return namespace + "_" + bucket }

// BucketStream is the stream behind a key-value bucket.
func BucketStream(namespace, bucket string) string { return "KV_" + Bucket(namespace, bucket) }

// ParseBucketStream is the inverse of BucketStream.
func ParseBucketStream(stream string) (namespace, bucket string, ok bool) {
	return parseStream(stream, "KV_")
}

// Store is the name of an object store as NATS clients spell it.
func Store(namespace, store string) string { return namespace + "_" + store }

// StoreStream is the stream behind an object store.
func StoreStream(namespace, store string) string { return "OBJ_" + Store(namespace, store) }

// ParseStoreStream is the inverse of StoreStream.
func ParseStoreStream(stream string) (namespace, store string, ok bool) {
	return parseStream(stream, "OBJ_")
}

func parseStream(stream, prefix string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(stream, prefix)
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, "_")
}

// Consumer is the durable consumer of one trigger. Neither part can contain an
// underscore.
func Consumer(function, trigger string) string { return function + "_" + trigger }

// MailTrigger stands for the trigger where there is none: in the dead letters
// and Idempotency-Keys of a function's mail. No trigger can have this name.
const MailTrigger = "_mail"

// QueueScope parts a function's Idempotency-Keys of one queue from all others. No
// trigger can have this name.
func QueueScope(queue string) string { return "_queue_" + queue }

// MailConsumer is the durable consumer that feeds a namespace's mail relay. No
// trigger can have this name: a trigger's consumer contains an underscore.
const MailConsumer = "mail"

// RetriesConsumer is the durable consumer that feeds the relay of a namespace's
// retries, which brings those that are due to the event log. No trigger can have
// this name.
const RetriesConsumer = "retries"

// ChangesConsumer is the durable consumer of a bucket or an object store that
// feeds the relay of its changes. No trigger can have this name.
const ChangesConsumer = "changes"

// BucketPath and StorePath name a bucket and an object store in the events of
// their changes, and stand for the trigger where the relay of them is meant. No
// trigger can have such a name.
func BucketPath(bucket string) string { return "buckets/" + bucket }

// StorePath is BucketPath for an object store.
func StorePath(store string) string { return "stores/" + store }

// TriggerPath is the source of the events that the platform makes for a trigger.
func TriggerPath(f Function, trigger string) string {
	return "/functions/" + f.Name + "/triggers/" + trigger
}

// ParseConsumer is the inverse of Consumer; ok is false for a consumer that is
// not a trigger's.
func ParseConsumer(consumer string) (function, trigger string, ok bool) {
	return strings.Cut(consumer, "_")
}

// ParseEvents is the inverse of Events; ok is false for another stream.
func ParseEvents(stream string) (namespace string, ok bool) {
	return strings.CutPrefix(stream, "EV_")
}
