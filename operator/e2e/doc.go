// Package e2e has the tests that run on a real cluster, from outside: kubectl,
// HTTP and an SMTP server, as a user would. hack/e2e brings up what they need.
package e2e
