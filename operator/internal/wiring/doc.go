// Package wiring is the one compile step: Functions in, one immutable Snapshot
// out, with every route, subscription and grant, and the problems found.
//
// The operator, the gateway, the dispatcher, the laptop and `serviceful graph`
// all use that snapshot; nothing else decides who is wired to what. The package
// is pure: it never does I/O and never asks for the time. It imports the api,
// names, route, filter, event, schedule and delivery.
package wiring
