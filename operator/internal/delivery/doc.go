// Package delivery decides what becomes of an asynchronous message after a
// call: done, called again later, failed, or dead.
//
// It is values in and values out: the time and the dice are arguments. It never
// does I/O and imports the standard library only. Everything that settles a
// message does so by a Verdict made here.
package delivery
