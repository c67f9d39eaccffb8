// Package render turns a Function into the Kubernetes objects that run it: a
// ServiceAccount and a Knative Service.
//
// It owns every setting of those objects and the reason for it. It is pure: no
// client is in sight, and equal Functions give equal objects. It imports the
// api and the types of Kubernetes and Knative.
package render
