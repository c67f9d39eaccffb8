package main

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/testkit/smtpsink"
)

var chaosMembers = flag.Int("chaos.members", 10_000, "members that TestNothingAcceptedIsLost joins; a tenth with -short")

const (
	chaosSenders = 32
	// chaosDeadline bounds a phase. Retries of a message that met many kills are
	// minutes apart.
	chaosDeadline = 10 * time.Minute
)

// TestNothingAcceptedIsLost joins members at full speed and redeems their
// offers while functions are killed at random and the program itself is killed
// and started again: whoever got a 201 ends with their welcome offers and
// exactly one welcome mail, and whatever got a 202 has its effect exactly once.
func TestNothingAcceptedIsLost(t *testing.T) {
	count := *chaosMembers
	if testing.Short() {
		count /= 10
	}
	sink := smtpsink.Start(t)
	p := startChaos(t, "-f", filepath.Join(repository, "functions"), "--smtp", sink.Addr())

	stopKilling := p.killAtRandom(t)
	members := joinAll(t, p, count)
	stopKilling()
	t.Logf("%d members joined; functions killed %d times, the program %d times", len(members), p.functionKills.Load(), p.kills.Load())
	waitForOffers(t, p, members)

	stopKilling = p.killAtRandom(t)
	calls := redeemAll(t, p, members)
	stopKilling()
	t.Logf("%d redemptions accepted; functions killed %d times, the program %d times", len(calls), p.functionKills.Load(), p.kills.Load())
	checkRedemptions(t, p, calls)
	checkMail(t, p, sink, members)

	p.stop(t)
	checkEvents(t, p, members)
}

// joined is a member who got a 201.
type joined struct{ email, number string }

// joinAll joins members until each has got an answer that says so. A request
// that was broken off is repeated, as a browser's user would.
func joinAll(t *testing.T, p *chaosProgram, count int) []joined {
	t.Helper()
	var mu sync.Mutex
	var members []joined
	over := p.deadline()
	p.forEach(count, func(i int) {
		email := fmt.Sprintf("member-%d@example.com", i)
		body := fmt.Sprintf(`{"name":"Member %d","email":%q,"postcode":"AB1 2CD"}`, i, email)
		for !over() {
			var answer struct {
				Number string `json:"number"`
			}
			switch status := p.call(http.MethodPost, "/members", body, &answer); status {
			case http.StatusCreated:
				mu.Lock()
				members = append(members, joined{email, answer.Number})
				mu.Unlock()
				return
			case http.StatusConflict: // an earlier try was complete, and its answer lost
				return
			case http.StatusBadRequest:
				t.Errorf("joining %s: %d", email, status)
				return
			}
			time.Sleep(20 * time.Millisecond) // the program is down
		}
		t.Errorf("joining %s: no answer", email)
	})
	return members
}

type offersAnswer struct {
	Offers []struct{ ID, State string }
}

// waitForOffers waits until every member has the two welcome offers.
func waitForOffers(t *testing.T, p *chaosProgram, members []joined) {
	t.Helper()
	over := p.deadline()
	p.forEach(len(members), func(i int) {
		for {
			var got offersAnswer
			status := p.call(http.MethodGet, "/members/"+members[i].number+"/offers", "", &got)
			if status == http.StatusOK && len(got.Offers) == 2 {
				return
			}
			if over() {
				t.Errorf("member %s has no welcome offers: %d %+v", members[i].number, status, got)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// redemption is a call that got a 202.
type redemption struct {
	member joined
	call   string
	second bool // of the same offer: it may not have an effect
}

// redeemAll redeems one offer of every member, of every tenth one twice.
func redeemAll(t *testing.T, p *chaosProgram, members []joined) []redemption {
	t.Helper()
	var mu sync.Mutex
	var calls []redemption
	over := p.deadline()
	p.forEach(len(members), func(i int) {
		redeem := func(second bool) {
			path := "/members/" + members[i].number + "/offers/welcome-coffee/redemptions"
			for !over() {
				var answer struct{ ID string }
				// The key makes a repeated request the same redemption.
				key := fmt.Sprintf("redeem-%d-%v", i, second)
				if p.callWithKey(http.MethodPost, path, key, &answer) == http.StatusAccepted {
					mu.Lock()
					calls = append(calls, redemption{members[i], answer.ID, second})
					mu.Unlock()
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("redeeming for %s: not accepted", members[i].number)
		}
		redeem(false)
		if i%10 == 0 {
			redeem(true)
		}
	})
	return calls
}

// checkRedemptions waits for the end of every call. Of two calls for one offer
// exactly one has succeeded, and a dead one says why.
func checkRedemptions(t *testing.T, p *chaosProgram, calls []redemption) {
	t.Helper()
	var succeeded sync.Map // member number -> *atomic.Int32
	var dead atomic.Int32
	over := p.deadline()
	p.forEach(len(calls), func(i int) {
		c := calls[i]
		for {
			var got struct{ State, Reason, Message string }
			status := p.call(http.MethodGet, "/calls/"+c.call, "", &got)
			n, _ := succeeded.LoadOrStore(c.member.number, new(atomic.Int32))
			switch {
			case status == http.StatusOK && got.State == "succeeded":
				n.(*atomic.Int32).Add(1)
				return
			case status == http.StatusOK && got.State == "failed":
				return
			case status == http.StatusOK && got.State == "dead":
				if dead.Add(1); got.Reason == "" || got.Message == "" {
					t.Errorf("call %s is dead and does not say why: %+v", c.call, got)
				}
				return
			case over():
				t.Errorf("call %s has not ended: %d %+v", c.call, status, got)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	succeeded.Range(func(number, n any) bool {
		if got := n.(*atomic.Int32).Load(); got > 1 || got == 0 && dead.Load() == 0 {
			t.Errorf("member %s: %d redemptions of one offer succeeded", number, got)
		}
		return true
	})
	if dead.Load() > 0 {
		t.Logf("%d redemptions are dead letters", dead.Load())
	}
}

// checkMail waits until every member has a welcome mail, and then sees to it
// that each was stored once and reached SMTP under one Message-ID.
func checkMail(t *testing.T, p *chaosProgram, sink *smtpsink.Sink, members []joined) {
	t.Helper()
	const mailsEach = 3 // the welcome, and one for each offer
	var stored map[string]int
	over := p.deadline()
	for {
		var mails []struct {
			To      []string
			Subject string
		}
		if status := p.callServices(http.MethodGet, "/v1/mail", &mails); status == http.StatusOK {
			stored = map[string]int{}
			for _, m := range mails {
				if strings.Contains(m.Subject, "Welcome") {
					stored[m.To[0]]++
				}
			}
		}
		missing := slices.ContainsFunc(members, func(m joined) bool { return stored[m.email] == 0 })
		if !missing && len(mails) >= mailsEach*len(members) || over() {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	sent := map[string]map[string]bool{} // recipient -> Message-IDs of welcome mails
	for _, m := range sink.Messages() {
		if !strings.Contains(m.Subject, "Welcome") {
			continue
		}
		if sent[m.To[0]] == nil {
			sent[m.To[0]] = map[string]bool{}
		}
		sent[m.To[0]][m.MessageID] = true
	}
	for _, m := range members {
		if stored[m.email] != 1 || len(sent[m.email]) != 1 {
			t.Errorf("%s: %d welcome mails stored, %d Message-IDs at the SMTP server, want 1 and 1", m.email, stored[m.email], len(sent[m.email]))
		}
	}
}

// checkEvents reads the event log of the stopped program: every redemption
// raised one event, whatever was repeated.
func checkEvents(t *testing.T, p *chaosProgram, members []joined) {
	t.Helper()
	server, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: filepath.Join(p.data, "nats"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	nc, err := server.Connect(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b, err := bus.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	err = b.Scan(t.Context(), names.Events("coop"), names.EventSubject("coop", "offers.offer.redeemed.v1"), func(m *envelope.Message) error {
		ids[m.Header.Get("ce-id")] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var dead []string
	err = b.Scan(t.Context(), names.Dead("coop"), "dead.coop.>", func(m *envelope.Message) error {
		d, _, err := m.DeadLetter()
		dead = append(dead, fmt.Sprintf("%s/%s: %s: %s", d.Function, d.Trigger, d.Reason, d.Message))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dead {
		t.Log("dead letter:", d)
	}
	if len(ids)+len(dead) < len(members) {
		t.Errorf("%d members redeemed an offer, %d events say so, %d dead letters", len(members), len(ids), len(dead))
	}
}

// forEach calls f for 0 to n-1, from chaosSenders goroutines, in a random order;
// for no more of them once the program does not run any more.
func (p *chaosProgram) forEach(n int, f func(i int)) {
	order := rand.Perm(n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range chaosSenders {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && !p.broken.Load(); i = next.Add(1) - 1 {
				f(order[i])
			}
		})
	}
	wg.Wait()
}
