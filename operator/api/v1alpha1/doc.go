// Package v1alpha1 is the Function kind: what a team writes down about one
// function, and what the platform reports back.
//
// It owns the fields, their bounds and defaults, the validation rules that the
// API server can check (CEL), the names of conditions, reasons and annotations.
// It never does I/O and decides nothing about wiring. It imports
// k8s.io/apimachinery and the standard library only.
//
// Every string and list is bounded, because the API server budgets the cost of
// CEL rules by those bounds. That is why pod fields and Knative's DeliverySpec
// appear here as types of our own, with the same JSON names.
//
// +kubebuilder:object:generate=true
// +groupName=serviceful.dev
package v1alpha1
