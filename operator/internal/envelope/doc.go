// Package envelope is the form in which Serviceful keeps things in NATS: the
// body as it came, and headers around it. It turns calls, results, retries and
// dead letters into messages and back.
//
// It is values only: it never talks to NATS, takes the time as an argument, and
// imports names and the standard library.
package envelope
