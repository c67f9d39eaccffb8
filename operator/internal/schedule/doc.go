// Package schedule says when a schedule trigger's times are, what is done when
// one comes, and in which form a time is stored.
//
// It is pure: the time is an argument. Time zones are constants of the world to
// it; it brings them along, so that a machine without any knows them too. It
// imports names, event and envelope.
package schedule
