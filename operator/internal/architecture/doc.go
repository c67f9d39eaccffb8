// Package architecture holds the test of who may import whom: the layers of
// docs/architecture.md, and why each forbidden import is forbidden. It has no
// code of its own.
package architecture
