package loopback_test

import (
	"testing"

	"github.com/serviceful/serviceful/operator/internal/testkit/loopback"
)

// atOnce is how many addresses a test asks for: of as many random ports out of
// 8,000, some fifteen would be taken twice.
const atOnce = 500

// A lock holds within a process as it does between two.
func TestNoneTwice(t *testing.T) {
	seen := map[string]bool{}
	for range atOnce {
		address := loopback.Address(t)
		if seen[address] {
			t.Fatalf("%s was given out twice", address)
		}
		seen[address] = true
	}
}

// More addresses than there are come from tests that give theirs back.
func TestGivenBack(t *testing.T) {
	for range 8_000/atOnce + 4 {
		t.Run("", func(t *testing.T) {
			for range atOnce {
				loopback.Address(t)
			}
		})
	}
}
