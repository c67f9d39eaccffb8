package e2e

import (
	"encoding/json"
	"errors"
	"net"
	"path"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// dead are the ids, each the last part of a call's path, that are among the dead
// letters of a trigger, read from NATS itself.
func (s *space) dead(trigger string) map[string]bool {
	s.Helper()
	ip := strings.TrimSpace(s.kubectl("", "-n", system, "get", "pod", "serviceful-nats-0", "-o", "jsonpath={.status.podIP}"))
	nc, err := nats.Connect("nats://" + net.JoinHostPort(ip, "4222"))
	if err != nil {
		s.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.Fatal(err)
	}
	stream, err := js.Stream(s.Context(), names.Dead(s.name))
	if err != nil {
		s.Fatal(err)
	}
	info := stream.CachedInfo()
	ids := map[string]bool{}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq && info.State.Msgs > 0; seq++ {
		m, err := stream.GetMsg(s.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			s.Fatal(err)
		}
		if !strings.HasSuffix(m.Subject, "."+trigger) {
			continue
		}
		var request envelope.Request
		if err := json.Unmarshal([]byte(m.Header.Get(envelope.HeaderRequest)), &request); err != nil {
			s.Fatalf("a dead letter of %s has no request: %v", trigger, err)
		}
		ids[path.Base(request.Target)] = true
	}
	return ids
}
