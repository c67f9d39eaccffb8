// Package kube is the cluster as the gateway and the dispatcher see it: the
// Functions that there are, and where each can be called.
//
// It watches, and never writes: Functions, the hosts of their namespaces, the
// Knative Services that the operator made of them, and of their revisions the
// Services and whether these have a ready address. It caches nothing else. It does not know the loops that use it.
package kube
