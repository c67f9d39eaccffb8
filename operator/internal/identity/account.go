package identity

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// Bounds of Accounts.
const (
	keysTimeout = 5 * time.Second // for asking the API server for its keys
	keysSilence = time.Minute     // from one word about keys that cannot be had to the next
	maxVerified = 10_000          // tokens that are remembered as verified
	maxDocument = 1 << 20         // bytes of the API server's answers
)

// algorithms are those that an API server may sign with: its key is RSA or
// ECDSA (kube-apiserver --service-account-signing-key-file).
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512}

// Accounts knows the tokens of a cluster's ServiceAccounts. A function's account
// has the function's name, so a token says which function is calling. Tokens are
// verified by the API server's keys, without asking it about each: one that is
// bound to a pod stays good until it expires, when the pod is gone already.
type Accounts struct {
	issuer string
	keys   oidc.KeySet
	log    *slog.Logger

	mu       sync.Mutex
	verified map[[sha256.Size]byte]account
	told     time.Time // when it was last said that the keys cannot be had
}

type account struct {
	function names.Function
	expires  time.Time
}

// NewAccounts asks the API server at base for its issuer; client is one that the
// server lets read its discovery document and keys.
func NewAccounts(ctx context.Context, base string, client *http.Client, log *slog.Logger) (*Accounts, error) {
	base = strings.TrimSuffix(base, "/")
	issuer, err := readIssuer(ctx, base+"/.well-known/openid-configuration", client)
	if err != nil {
		return nil, fmt.Errorf("asking the API server who issues its tokens: %w", err)
	}
	bounded := *client
	bounded.Timeout = keysTimeout
	// The document's own jwks_uri may name an address for others: the keys are read from where the document was.
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), &bounded), base+"/openid/v1/jwks")
	return &Accounts{issuer: issuer, keys: keys, log: log, verified: map[[sha256.Size]byte]account{}}, nil
}

func readIssuer(ctx context.Context, url string, client *http.Client) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var document struct {
		Issuer string `json:"issuer"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument))
	switch {
	case err != nil:
		return "", err
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s answered %s", url, resp.Status)
	}
	if err := json.Unmarshal(body, &document); err != nil || document.Issuer == "" {
		return "", fmt.Errorf("%s names no issuer", url)
	}
	return document.Issuer, nil
}

// Identify is the function whose account a token is of; ok is false for a token
// that is not the API server's, has expired, or is for another audience. It fails
// when the server's keys cannot be had.
func (a *Accounts) Identify(token string) (f names.Function, ok bool, err error) {
	digest := sha256.Sum256([]byte(token))
	a.mu.Lock()
	known, ok := a.verified[digest]
	a.mu.Unlock()
	if ok && time.Now().Before(known.expires) {
		return known.function, true, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	keys := &attempt{KeySet: a.keys}
	t, err := oidc.NewVerifier(a.issuer, keys, &oidc.Config{ClientID: v1alpha1.TokenAudience, SupportedSigningAlgs: algorithms}).Verify(ctx, token)
	if keys.missing != nil {
		a.tell(keys.missing)
		return names.Function{}, false, keys.missing
	}
	if err != nil {
		return names.Function{}, false, nil
	}
	f, ok = ofAccount(t.Subject)
	if ok {
		a.remember(digest, account{f, t.Expiry})
	}
	return f, ok, nil
}

// attempt notes of one verification what the verifier does not say: that it had no
// keys.
type attempt struct {
	oidc.KeySet
	missing error
}

func (a *attempt) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := a.KeySet.VerifySignature(ctx, token)
	a.missing = errors.Unwrap(err) // a RemoteKeySet wraps only what kept it from the keys
	return payload, err
}

// tell says that the keys cannot be had, and is silent about it for a while.
func (a *Accounts) tell(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Since(a.told) < keysSilence {
		return
	}
	a.told = time.Now()
	a.log.Warn("the API server's keys cannot be had; functions with a new token are refused", "error", err)
}

// remember keeps a verified token. When there are too many, all are forgotten
// and verified once more.
func (a *Accounts) remember(digest [sha256.Size]byte, v account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.verified) >= maxVerified {
		clear(a.verified)
	}
	a.verified[digest] = v
}

// ofAccount reads the subject of a ServiceAccount's token:
// system:serviceaccount:<namespace>:<name>.
func ofAccount(subject string) (names.Function, bool) {
	parts := strings.Split(subject, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" || parts[2] == "" || parts[3] == "" {
		return names.Function{}, false
	}
	return names.Function{Namespace: parts[2], Name: parts[3]}, true
}
