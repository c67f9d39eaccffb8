// Package loopback finds addresses on this machine for tests.
package loopback

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The ports that are given out: below the range from which clients get theirs, so
// that none takes one while the program that is to listen there is down.
const (
	firstPort = 12_000
	ports     = 8_000
)

// Address is one on this machine that nobody listens on: "127.0.0.1:port".
func Address(tb testing.TB) string {
	tb.Helper()
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(ports)))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	tb.Fatal("no free address")
	return ""
}
