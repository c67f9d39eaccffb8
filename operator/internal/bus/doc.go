// Package bus is everything Serviceful does with NATS JetStream: the streams,
// consumers and buckets of a namespace, storing and looking up messages, and
// pulling them.
//
// The control plane's part (layout.go) creates and removes; the data plane's
// part stores, reads and settles, and never creates anything. The package knows
// nothing of HTTP or functions; it imports names, delivery, envelope,
// event and wiring.
package bus
