// Package invoke calls a function over HTTP: it turns stored events and requests
// into HTTP requests, makes the call, and says what happened.
//
// It owns what a function sees of an asynchronous message, and the Lease by
// which a world hands out a ready instance. It never decides what becomes of a
// message and never touches NATS.
package invoke
