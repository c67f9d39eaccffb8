package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/serviceful/serviceful/operator/internal/testkit/smtpsink"
)

// smtpPort is where the dispatcher hands mail over; see mailServer.
const smtpPort = "2525"

// startSMTP starts the SMTP server of this run: the dispatcher can use only one.
var startSMTP = sync.OnceValues(func() (*smtpsink.Sink, error) { return smtpsink.New(net.JoinHostPort(hostAddress, smtpPort)) })

// mailServer is an SMTP server on this machine that the dispatcher uses.
func mailServer(s *space) *smtpsink.Sink {
	s.Helper()
	sink, err := startSMTP()
	if err != nil {
		s.Fatal(err)
	}
	s.kubectl("", "-n", system, "patch", "deployment", "serviceful-dispatcher", "--type=json",
		`-p=[{"op":"add","path":"/spec/template/spec/containers/0/args","value":["--smtp=`+net.JoinHostPort(hostAddress, smtpPort)+`"]}]`)
	s.kubectl("", "-n", system, "rollout", "status", "--timeout=240s", "deployment/serviceful-dispatcher")
	return sink
}

// TestJoin has a member join while every function is at zero: the welcome offers
// and the mail arrive, a redemption has its effect, and all functions stop again.
func TestJoin(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	sink := mailServer(s)
	s.apply(s.quick(), "membership", "offers", "notifications")
	s.eventually("all functions are at zero", func() bool { return s.pods() == 0 })

	var member struct{ Number string }
	s.mustCall(201, "POST", "/members", `{"name": "Ada", "email": "ada@example.com", "postcode": "AB1 2CD"}`).decode(t, &member)
	var list struct {
		Offers []struct{ ID, State string }
	}
	s.eventually("the welcome offers are there", func() bool {
		a, err := s.call("GET", "/members/"+member.Number+"/offers", "")
		if err != nil || a.status != 200 {
			return false
		}
		a.decode(t, &list)
		return len(list.Offers) > 0
	})
	s.eventually("the welcome mail is there", func() bool {
		return slices.ContainsFunc(sink.Messages(), func(m smtpsink.Message) bool { return slices.Contains(m.To, "ada@example.com") })
	})
	ids := map[string]bool{}
	for _, m := range sink.Messages() {
		if ids[m.MessageID] {
			t.Errorf("mail %s came twice", m.MessageID)
		}
		ids[m.MessageID] = true
	}

	a := s.mustCall(202, "POST", fmt.Sprintf("/members/%s/offers/%s/redemptions", member.Number, list.Offers[0].ID), "")
	s.eventually("the redemption is done", func() bool {
		got, err := s.call("GET", a.header.Get("Location"), "")
		return err == nil && strings.Contains(got.body, `"succeeded"`)
	})
	s.eventually("all functions are at zero again", func() bool { return s.pods() == 0 })
}

// TestCatalogue has a file of offers put through the gateway: the change of the
// store has it loaded, a member who joins gets what it greets with, and the
// member's history tells it in order.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(s.functions(), "membership", "offers")
	var file strings.Builder
	file.WriteString("id,title,welcome\ntea,Tea,true\ncake,Cake,true\n")
	for n := range 500 {
		fmt.Fprintf(&file, "offer-%d,Offer %d,false\n", n, n)
	}
	s.mustCall(202, "PUT", "/catalogue/spring.csv", file.String())
	s.eventually("the file is loaded", func() bool {
		a, err := s.call("GET", "/catalogue/spring.csv", "")
		return err == nil && a.status == 200 && strings.Contains(a.body, `"offers":502,"rejected":0`)
	})
	var member struct{ Number string }
	s.mustCall(201, "POST", "/members", `{"name": "Ada", "email": "ada@example.com", "postcode": "AB1 2CD"}`).decode(t, &member)
	var history struct {
		Entries []struct{ Type, Offer string }
	}
	s.eventually("the history tells of both offers", func() bool {
		a, err := s.call("GET", "/members/"+member.Number+"/history", "")
		if err != nil || a.status != 200 {
			return false
		}
		a.decode(t, &history)
		return len(history.Entries) == 2
	})
	s.mustCall(202, "POST", "/members/"+member.Number+"/offers/tea/redemptions", "")
	s.eventually("the redemption comes after them", func() bool {
		s.mustCall(200, "GET", "/members/"+member.Number+"/history", "").decode(t, &history)
		return len(history.Entries) == 3 && history.Entries[2].Offer == "tea" && strings.HasSuffix(history.Entries[2].Type, ".redeemed.v1")
	})
}

// unpullable is manifests in which the image of one function is not there.
func unpullable(t *testing.T, manifests, function string) string {
	t.Helper()
	i := strings.Index(manifests, "/"+function+"@sha256:")
	if i < 0 {
		t.Fatalf("the manifests name no image of %s by digest", function)
	}
	start := strings.LastIndex(manifests[:i], " ") + 1
	end := start + strings.IndexAny(manifests[start:], " \n")
	return manifests[:start] + "198.18.0.2:5000/nothing@sha256:" + strings.Repeat("0", 64) + manifests[end:]
}

// TestImageThatCannotStart has a redemption accepted while the function's image
// cannot start: it is delivered when the image is mended.
func TestImageThatCannotStart(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	good := s.functions()
	s.apply(unpullable(t, good, "offers"), "membership")
	var member struct{ Number string }
	s.mustCall(201, "POST", "/members", `{"name": "Ada", "email": "ada@example.com", "postcode": "AB1 2CD"}`).decode(t, &member)
	a := s.mustCall(202, "POST", "/members/"+member.Number+"/offers/welcome-coffee/redemptions", "")
	s.eventually("the image cannot be pulled", func() bool {
		return strings.Contains(s.kubectl("", "-n", s.name, "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}"), "ImagePull")
	})
	if got := s.mustCall(200, "GET", a.header.Get("Location"), ""); !strings.Contains(got.body, `"queued"`) && !strings.Contains(got.body, `"running"`) {
		t.Errorf("the call is %s", got.body)
	}
	s.apply(good, "offers")
	s.eventually("the redemption is done", func() bool {
		got, err := s.call("GET", a.header.Get("Location"), "")
		return err == nil && strings.Contains(got.body, `"succeeded"`)
	})
}

// TestDelete checks what goes with a Function, and what stays.
func TestDelete(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(s.functions(), "membership", "offers", "notifications")
	var member struct{ Number string }
	s.mustCall(201, "POST", "/members", `{"name": "Ada", "email": "ada@example.com", "postcode": "AB1 2CD"}`).decode(t, &member)
	if len(s.consumers("offers")) == 0 {
		t.Fatal("offers has no consumers")
	}
	s.kubectl("", "-n", s.name, "delete", "function", "membership", "offers", "--timeout=120s")
	s.eventually("its consumers are gone", func() bool { return len(s.consumers("offers")) == 0 })
	if len(s.consumers("notifications")) == 0 {
		t.Error("those of another function are gone, too")
	}
	for _, kind := range []string{"ksvc", "serviceaccount"} {
		s.eventually("its "+kind+" is gone", func() bool {
			_, err := s.tryKubectl("", "-n", s.name, "get", kind, "membership")
			return err != nil && strings.Contains(err.Error(), "NotFound")
		})
	}
	s.eventually("its routes are gone", func() bool {
		a, err := s.call("GET", "/members/"+member.Number, "")
		return err == nil && a.status == 404
	})
	s.apply(s.functions(), "membership")
	if a := s.mustCall(200, "GET", "/members/"+member.Number, ""); !strings.Contains(a.body, "Ada") {
		t.Errorf("the member that joined before is %s", a.body)
	}
}

// TestNamespaces checks that two namespaces with the same names do not see each
// other.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	one, other := newSpace(t), newSpace(t)
	for _, s := range []*space{one, other} {
		s.apply(s.functions(), "membership")
	}
	const ada = `{"name": "Ada", "email": "ada@example.com", "postcode": "AB1 2CD"}`
	var member struct{ Number string }
	one.mustCall(201, "POST", "/members", ada).decode(t, &member)
	other.mustCall(404, "GET", "/members/"+member.Number, "")
	other.mustCall(201, "POST", "/members", ada)
	one.mustCall(409, "POST", "/members", ada)
}
