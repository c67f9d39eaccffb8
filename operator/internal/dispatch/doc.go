// Package dispatch takes messages from JetStream to functions: it pulls, calls
// and settles, one worker to each subscription of the snapshot.
//
// It owns the only place where a message is acknowledged. What becomes of a
// message is decided by package delivery; this package carries it out. It never
// creates streams or consumers, and reaches NATS, functions and mail through
// small interfaces of its own.
package dispatch
