// Package services is the door that functions use: events, buckets, objects,
// queues, other functions and mail over HTTP, each call allowed only by the
// caller's emits and bindings.
//
// It knows a function by its bearer token and what it may do by the snapshot.
// It reaches NATS and identities through interfaces of its own, and never
// serves anybody but functions, except for health and the laptop's mailbox.
package services
