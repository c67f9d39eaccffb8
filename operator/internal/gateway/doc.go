// Package gateway is the public door: it takes HTTP requests to the functions
// whose routes they match, at once or later.
//
// A synchronous request is proxied to a ready instance, untouched and
// unbuffered; an asynchronous one is stored and answered 202. The package also
// answers what became of a stored call. It reaches functions and NATS through
// interfaces of its own and decides nothing about delivery.
package gateway
