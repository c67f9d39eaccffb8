package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// joins are members that join and redeem their welcome offers, one after the
// other by each of a few clients.
type joins struct {
	*space
	end     context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex
	calls []string // where the accepted redemptions are answered
}

func startJoins(s *space) *joins {
	ctx, end := context.WithCancel(s.Context())
	j := &joins{space: s, end: end}
	s.Cleanup(j.clients.Wait)
	for client := range 4 {
		j.clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-time.After(50 * time.Millisecond):
					j.one(fmt.Sprintf("member-%d-%d@example.com", client, n))
				}
			}
		})
	}
	return j
}

// one is one member, whose requests must not fail.
func (j *joins) one(email string) {
	var member struct{ Number string }
	joined, err := j.call("POST", "/members", fmt.Sprintf(`{"name": "Ada", "email": %q, "postcode": "AB1 2CD"}`, email))
	if err != nil || joined.status != 201 || json.Unmarshal([]byte(joined.body), &member) != nil {
		j.Errorf("joining: %v, %d %s", err, joined.status, joined.body)
		return
	}
	redeemed, err := j.call("POST", "/members/"+member.Number+"/offers/welcome-coffee/redemptions", "")
	if err != nil || redeemed.status != 202 {
		j.Errorf("redeeming: %v, %d %s", err, redeemed.status, redeemed.body)
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = append(j.calls, redeemed.header.Get("Location"))
}

// stop ends the requests, and waits until everything accepted is done.
func (j *joins) stop() {
	j.Helper()
	j.end()
	j.clients.Wait()
	if len(j.calls) == 0 {
		j.Error("nobody joined meanwhile")
	}
	for _, at := range j.calls {
		j.eventually("the redemption "+at+" is done", func() bool {
			a, err := j.call("GET", at, "")
			return err == nil && strings.Contains(a.body, `"succeeded"`)
		})
	}
	j.Logf("%d members joined and redeemed", len(j.calls))
}
