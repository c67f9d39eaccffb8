// Package order decides what of an ordered trigger may be called next, and by
// whom: its messages wait in lanes, one to each value, and one dispatcher at a
// time has the claim to call them.
//
// It holds values only: time is an argument, and what is stored and called is
// others' to do.
package order
