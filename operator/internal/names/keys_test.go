package names

import (
	"strings"
	"testing"
)

func TestParseKey(t *testing.T) {
	for _, key := range []string{"a", "a.b", "a/b=_c.D", strings.Repeat("k", MaxKey)} {
		if namespace, bucket, got, ok := ParseKey(Key("coop", "offers", key)); namespace != "coop" || bucket != "offers" || got != key || !ok {
			t.Errorf("%q came back as %q, %q, %q, %v", key, namespace, bucket, got, ok)
		}
	}
	for _, s := range []string{"", "$KV.coop_offers", "$KV.coop_offers.", "$KV.coop.a", "$O.coop_offers.M.YQ=="} {
		if _, _, key, ok := ParseKey(s); ok {
			t.Errorf("%q was taken for the key %q", s, key)
		}
	}
}
