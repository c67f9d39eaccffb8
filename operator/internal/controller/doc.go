// Package controller makes Functions run on Kubernetes: a ServiceAccount, a
// Knative Service, streams, consumers and buckets for each, and a status that
// says how it stands.
//
// It owns the order in which that happens, the finalizer, the conditions and
// the events. It never decides how an object looks (render), who is wired to
// whom (wiring) or what a stream is like (bus), and never sees a message. It
// imports those, the api, and controller-runtime.
package controller
