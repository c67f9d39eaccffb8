package identity

import (
	"sync"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/names"
)

var (
	offers  = names.Function{Namespace: "coop", Name: "offers"}
	members = names.Function{Namespace: "coop", Name: "membership"}
)

func TestTokens(t *testing.T) {
	var tokens Tokens
	first, revokeFirst := tokens.Issue(offers)
	second, _ := tokens.Issue(offers)
	other, _ := tokens.Issue(members)
	check := func(when string, want map[string]names.Function) {
		t.Helper()
		for token, f := range want {
			if got, ok, _ := tokens.Identify(token); got != f || ok != (f != names.Function{}) {
				t.Errorf("%s: a token of %v is one of %v (%v)", when, f, got, ok)
			}
		}
	}
	none := names.Function{}
	check("issued", map[string]names.Function{
		first: offers, second: offers, other: members, "": none, "guessed": none, first + " ": none, first[:len(first)-1]: none,
	})
	revokeFirst()
	revokeFirst()
	check("revoked", map[string]names.Function{first: none, second: offers, other: members})
	if _, ok, _ := new(Tokens).Identify(second); ok {
		t.Error("another process's tokens are known")
	}
}

// TestTokensConcurrently issues, knows and revokes in many goroutines at once.
func TestTokensConcurrently(t *testing.T) {
	var tokens Tokens
	var seen sync.Map
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				token, revoke := tokens.Issue(offers)
				if _, dup := seen.LoadOrStore(token, true); dup || len(token) < 26 {
					t.Errorf("the token %q is short, or issued twice", token)
				}
				if f, ok, _ := tokens.Identify(token); !ok || f != offers {
					t.Errorf("a new token is not known: %v", f)
				}
				revoke()
				if _, ok, _ := tokens.Identify(token); ok {
					t.Error("a revoked token is known")
				}
			}
		})
	}
	wg.Wait()
}
