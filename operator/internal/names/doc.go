// Package names is the one place that spells a name in NATS: subjects, streams,
// consumers and buckets, and the syntax of the parts they are made of.
//
// It owns the table "Where it lives in NATS" of docs/architecture.md. It never
// talks to NATS and imports the standard library only.
package names
