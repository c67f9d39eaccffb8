// Package loopback finds addresses on this machine for tests.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// The ports that are given out: below the range from which clients get theirs, so
// that none takes one while the program that is to listen there is down.
const (
	firstPort = 12_000
	ports     = 8_000
)

// Address is one on this machine that nobody listens on: "127.0.0.1:port". It is
// the test's until it ends, also while nobody listens there: no other test gets
// it, and no other process that runs tests.
func Address(tb testing.TB) string {
	tb.Helper()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("serviceful-test-ports-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	for range 100 {
		port := strconv.Itoa(firstPort + rand.IntN(ports))
		lock, err := os.OpenFile(filepath.Join(dir, port), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			tb.Fatal(err)
		}
		if address := net.JoinHostPort("127.0.0.1", port); locked(lock) && free(address) {
			tb.Cleanup(func() { _ = lock.Close() }) // which gives it back
			return address
		}
		_ = lock.Close()
	}
	tb.Fatal("no free address")
	return ""
}

// locked locks the file for this opening of it alone, unless another has it.
func locked(file *os.File) bool {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

func free(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	return l.Close() == nil
}
