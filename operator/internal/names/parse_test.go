package names

import (
	"slices"
	"testing"
)

func TestParseDeadAndRetry(t *testing.T) {
	f := Function{Namespace: "shop", Name: "offers"}
	if g, trigger, ok := ParseDead(DeadSubject(f, "a")); g != f || trigger != "a" || !ok {
		t.Errorf("a dead letter's subject came back as %v, %q, %v", g, trigger, ok)
	}
	if g, trigger, ok := ParseEventDue(EventDue(f, "a")); g != f || trigger != "a" || !ok {
		t.Errorf("a retry's subject came back as %v, %q, %v", g, trigger, ok)
	}
	others := []string{"", "dead.shop.offers", "evretry.shop.offers.a", "evdue.shop.offers", "evsched.shop.offers.a.7", "work.shop.call.offers.a.1", "a.b.c.d"}
	if slices.ContainsFunc(others, func(s string) bool {
		_, _, dead := ParseDead(s)
		_, _, retry := ParseEventDue(s)
		return dead || retry
	}) {
		t.Error("another subject was taken for one of these")
	}
}
