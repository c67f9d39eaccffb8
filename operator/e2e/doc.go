// Package e2e has the tests that run on a real cluster, from outside: kubectl,
// HTTP and an SMTP server, as a user would. hack/e2e brings up what they need.
//
// Tests that kill or replace parts of the platform run alone; all others run
// beside each other after them, each in a namespace of its own.
package e2e
