// Package dead is what can be thought about dead letters: which ones are meant,
// where one goes when it is replayed, and how they are shown.
//
// It is values only: it never talks to NATS, takes the time as an argument, and
// imports names, delivery and envelope.
package dead
