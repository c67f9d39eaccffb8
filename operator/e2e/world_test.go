package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/serviceful/serviceful/operator/internal/testkit/kubectl"
)

const (
	// patience bounds the wait for what must come; it is a guard, not a measure.
	patience = 5 * time.Minute
	// hostAddress is where the cluster's pods reach this machine (hack/cluster).
	hostAddress = "198.18.0.1"
	system      = "serviceful-system"
)

// space is a namespace of one test's own, with its way in through the gateway.
type space struct {
	*testing.T
	name string
	door string // the gateway's address
}

// newSpace makes a namespace, which goes with the test. Without a cluster the
// test is skipped.
func newSpace(t *testing.T) *space {
	t.Helper()
	if os.Getenv("E2E_FUNCTIONS") == "" {
		t.Skip("there is no cluster to test on: hack/e2e brings one up")
	}
	s := &space{T: t, name: fmt.Sprintf("e2e-%d", time.Now().UnixNano())}
	s.findDoor(system)
	s.kubectl("", "create", "namespace", s.name)
	t.Cleanup(func() {
		if t.Failed() {
			s.report()
		}
		s.kubectl("", "delete", "namespace", s.name, "--wait=false")
	})
	return s
}

// findDoor looks for the address of the gateway in a namespace, which is another
// when its Service was made anew.
func (s *space) findDoor(namespace string) {
	s.Helper()
	s.door = strings.TrimSpace(s.kubectl("", "-n", namespace, "get", "service", "serviceful-gateway", "-o", "jsonpath={.spec.clusterIP}"))
}

// report prints what helps to see why a test failed.
func (s *space) report() {
	kubectl.Log(s, [][]string{
		{"-n", s.name, "get", "functions,ksvc,pods", "-o", "wide"},
		{"-n", s.name, "get", "functions", "-o", "jsonpath={range .items[*]}{.metadata.name}: {.status}{\"\\n\"}{end}"},
		{"-n", s.name, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", system, "get", "pods"},
		{"-n", system, "logs", "--tail=40", "-l", "app.kubernetes.io/part-of=serviceful", "--prefix"},
	}...)
}

// kubectl runs kubectl with input, and returns what it prints.
func (s *space) kubectl(input string, args ...string) string {
	s.Helper()
	return kubectl.Run(s, input, args...)
}

func (s *space) tryKubectl(input string, args ...string) (string, error) {
	return kubectl.Try(s, input, args...)
}

// functions are the manifests of the reference functions, their images resolved,
// for this namespace.
func (s *space) functions() string {
	s.Helper()
	text, err := os.ReadFile(os.Getenv("E2E_FUNCTIONS"))
	if err != nil {
		s.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "namespace: coop", "namespace: "+s.name)
}

// quick are functions that stop as soon as Knative lets them.
func (s *space) quick() string {
	s.Helper()
	return strings.ReplaceAll(s.functions(), "  triggers:", "  scale: {idle: 6s}\n  triggers:")
}

// apply applies manifests and waits until the Functions named are ready.
func (s *space) apply(manifests string, names ...string) {
	s.Helper()
	s.kubectl(manifests, "apply", "-f", "-")
	for _, name := range names {
		s.kubectl("", "-n", s.name, "wait", "--for=condition=Ready", "--timeout=240s", "function/"+name)
	}
}

// pods is how many pods of the namespace there are, those that end included.
func (s *space) pods() int {
	s.Helper()
	return len(strings.Fields(s.kubectl("", "-n", s.name, "get", "pods", "-o", "name")))
}

// eventually waits until f is true.
func (s *space) eventually(what string, f func() bool) {
	s.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if f() {
			return
		}
	}
	s.Fatalf("waited in vain until %s", what)
}

// consumers are the durable consumers of a function of the namespace, as NATS has
// them.
func (s *space) consumers(function string) (found []string) {
	s.Helper()
	for _, stream := range s.streams(system) {
		for _, c := range stream.Consumer {
			if strings.HasSuffix(stream.Name, "_"+s.name) && strings.HasPrefix(c.Name, function+"_") {
				found = append(found, stream.Name+"/"+c.Name)
			}
		}
	}
	return found
}

// streams are those of the first NATS server of an installation, with what they are
// configured to and with their consumers.
func (s *space) streams(namespace string) (all []server.StreamDetail) {
	s.Helper()
	address := strings.TrimSpace(s.kubectl("", "-n", namespace, "get", "pod", "serviceful-nats-0", "-o", "jsonpath={.status.podIP}"))
	resp, err := http.Get("http://" + address + ":8222/jsz?consumers=true&config=true")
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	var info server.JSInfo
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		s.Fatal(err)
	}
	for _, account := range info.AccountDetails {
		all = append(all, account.Streams...)
	}
	return all
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// decode reads a JSON body.
func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), v); err != nil {
		t.Fatalf("reading %q: %v", a.body, err)
	}
}

// call makes a request at the public door, on the namespace's host.
func (s *space) call(method, path, body string) (answer, error) {
	return s.callWith(nil, method, path, body)
}

// callWith is call with headers.
func (s *space) callWith(header http.Header, method, path, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.Context()), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.door+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Host = s.name + ".serviceful.local"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// mustCall is call that wants a status.
func (s *space) mustCall(want int, method, path, body string) answer {
	s.Helper()
	a, err := s.call(method, path, body)
	if err != nil {
		s.Fatal(err)
	}
	if a.status != want {
		s.Fatalf("%s %s answered %d, want %d: %s", method, path, a.status, want, a.body)
	}
	return a
}
