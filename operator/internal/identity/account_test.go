package identity_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/serviceful/serviceful/operator/internal/identity"
	"github.com/serviceful/serviceful/operator/internal/names"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

// issuing is the part of an API server that issues tokens.
type issuing struct {
	*httptest.Server
	t     *testing.T
	mu    sync.Mutex
	keys  jose.JSONWebKeySet
	asked atomic.Int64 // for the keys
	sick  atomic.Bool  // it has no keys to give
	log   bytes.Buffer // of who asks
}

func newIssuing(t *testing.T) *issuing {
	s := &issuing{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": "https://10.0.0.1/openid/v1/jwks"})
	})
	mux.HandleFunc("GET /openid/v1/jwks", func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		if s.sick.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(s.keys)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// add makes a signer's key one of the server's.
func (s *issuing) add(id string, key crypto.Signer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.Keys = append(s.keys.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig"})
}

func (s *issuing) accounts() *identity.Accounts {
	s.t.Helper()
	a, err := identity.NewAccounts(s.t.Context(), s.URL, s.Client(), slog.New(slog.NewTextHandler(&s.log, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// claims of a good token; change makes it another.
func claims(change ...func(map[string]any)) map[string]any {
	c := map[string]any{
		"iss": issuer, "sub": "system:serviceaccount:coop:offers", "aud": []string{"serviceful"},
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func set(key string, value any) func(map[string]any) {
	return func(c map[string]any) { c[key] = value }
}

func sign(t *testing.T, id string, alg jose.SignatureAlgorithm, key crypto.Signer, c map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", id))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAccounts(t *testing.T) {
	s := newIssuing(t)
	key, stranger := rsaKey(t), rsaKey(t)
	s.add("a", key)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.add("b", curve)
	tests := map[string]struct {
		token string
		want  string // "": a stranger
	}{
		"a function's":                 {sign(t, "a", jose.RS256, key, claims()), "coop/offers"},
		"signed with a curve":          {sign(t, "b", jose.ES256, curve, claims()), "coop/offers"},
		"for several":                  {sign(t, "a", jose.RS256, key, claims(set("aud", []string{"x", "serviceful"}))), "coop/offers"},
		"for the API server":           {sign(t, "a", jose.RS256, key, claims(set("aud", []string{issuer}))), ""},
		"expired":                      {sign(t, "a", jose.RS256, key, claims(set("exp", time.Now().Add(-time.Minute).Unix()))), ""},
		"of another issuer":            {sign(t, "a", jose.RS256, key, claims(set("iss", "https://example.com"))), ""},
		"signed by a stranger":         {sign(t, "a", jose.RS256, stranger, claims()), ""},
		"signed by an unknown key":     {sign(t, "c", jose.RS256, stranger, claims()), ""},
		"of a user":                    {sign(t, "a", jose.RS256, key, claims(set("sub", "ada"))), ""},
		"of a node":                    {sign(t, "a", jose.RS256, key, claims(set("sub", "system:node:a:b"))), ""},
		"of an account without a name": {sign(t, "a", jose.RS256, key, claims(set("sub", "system:serviceaccount:coop:"))), ""},
		"nothing":                      {"", ""},
		"no token":                     {"a.b.c", ""},
	}
	accounts := s.accounts()
	for name, test := range tests {
		for range 2 { // the second time some are remembered
			f, ok, err := accounts.Identify(test.token)
			if err != nil || ok != (test.want != "") || ok && f.String() != test.want {
				t.Errorf("a token %s is of %q, %v, %v; want %q", name, f, ok, err, test.want)
			}
		}
	}
}

// TestAccountsKeepUp checks that a key which the server has got since is known,
// and that a token which was verified costs the server no question.
func TestAccountsKeepUp(t *testing.T) {
	s := newIssuing(t)
	s.add("a", rsaKey(t))
	accounts := s.accounts()
	later := rsaKey(t)
	token := sign(t, "later", jose.RS256, later, claims())
	if f, ok, _ := accounts.Identify(token); ok {
		t.Fatalf("known as %s before the server knows the key", f)
	}
	s.add("later", later)
	eventually(t, func() bool { _, ok, _ := accounts.Identify(token); return ok })
	for range 3 {
		if f, ok, _ := accounts.Identify(token); !ok || f != (names.Function{Namespace: "coop", Name: "offers"}) {
			t.Fatalf("identified as %q, %v", f, ok)
		}
	}
	if n := s.asked.Load(); n != 2 {
		t.Errorf("the server was asked for its keys %d times, want 2", n)
	}
	s.Close()
	if _, ok, _ := accounts.Identify(token); !ok {
		t.Error("a verified token is a stranger's while the server is away")
	}
}

// TestAccountsWithoutKeys checks that nobody is called a stranger while the server's
// keys cannot be had, and that it is logged, but not for each call.
func TestAccountsWithoutKeys(t *testing.T) {
	s := newIssuing(t)
	key := rsaKey(t)
	s.add("a", key)
	accounts, token := s.accounts(), sign(t, "a", jose.RS256, key, claims())
	s.sick.Store(true)
	for range 3 {
		if f, ok, err := accounts.Identify(token); ok || err == nil {
			t.Errorf("identified as %q, %v, %v", f, ok, err)
		}
	}
	if _, _, err := accounts.Identify("a.b.c"); err != nil {
		t.Errorf("what is no token takes keys: %v", err)
	}
	if said := s.log.String(); strings.Count(said, "keys cannot be had") != 1 || !strings.Contains(said, "500") {
		t.Errorf("it logs %q", said)
	}
	s.sick.Store(false)
	eventually(t, func() bool { _, ok, _ := accounts.Identify(token); return ok })
	s.Close()
	if _, ok, err := accounts.Identify(sign(t, "later", jose.RS256, rsaKey(t), claims())); ok || err == nil {
		t.Errorf("a server that is away: %v, %v", ok, err)
	}
}

// eventually waits for what go-oidc does a moment after it has answered: it gives
// the end of a question to whoever asks before it has noted that.
func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

func TestAccountsNeedAnIssuer(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"not JSON":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"no issuer": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
	}
	for name, handler := range tests {
		s := httptest.NewServer(handler)
		if _, err := identity.NewAccounts(t.Context(), s.URL, s.Client(), slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: no error", name)
		}
		s.Close()
	}
}
