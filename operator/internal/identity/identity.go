// Package identity says which function a bearer token belongs to.
//
// On the laptop tokens are random and live as long as the process they were
// issued for. In a cluster they are those of the functions' ServiceAccounts,
// verified by the API server's keys. The package never reads requests.
package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// Tokens issues and knows the laptop's tokens. The zero Tokens knows none. It
// keeps digests only, so that looking one up does not tell how much of it was
// right.
type Tokens struct {
	byDigest sync.Map // [sha256.Size]byte -> names.Function
}

// Issue makes a new token for a function, good until revoke is called.
func (t *Tokens) Issue(f names.Function) (token string, revoke func()) {
	token = rand.Text()
	digest := sha256.Sum256([]byte(token))
	t.byDigest.Store(digest, f)
	return token, func() { t.byDigest.Delete(digest) }
}

// Identify is the function that a token was issued for; ok is false for a token
// that is unknown or was revoked. It never fails.
func (t *Tokens) Identify(token string) (f names.Function, ok bool, err error) {
	v, ok := t.byDigest.Load(sha256.Sum256([]byte(token)))
	if !ok {
		return names.Function{}, false, nil
	}
	return v.(names.Function), true, nil
}
