package charts

import (
	"strings"
	"testing"
)

// TestRefused sets what cannot work: the message says where and what.
func TestRefused(t *testing.T) {
	const here = "knative.check=false"
	for set, want := range map[string][]string{
		"":                                      {"The cluster has no Knative Serving (serving.knative.dev/v1). Install it first, https://knative.dev/docs/install"},
		here + ",nonsense=1":                    {"additional properties 'nonsense' not allowed"},
		here + ",gateway.replica=2":             {"'/gateway'", "'replica' not allowed"},
		here + ",gateway.replicas=0":            {"'/gateway/replicas'", "minimum: got 0, want 1"},
		here + ",gateway.replicas=many":         {"'/gateway/replicas'", "got string, want null or integer"},
		here + ",gateway.service.type=Public":   {"'/gateway/service/type'", "'ClusterIP', 'NodePort', 'LoadBalancer'"},
		here + ",gateway.service.port=70000":    {"'/gateway/service/port'", "maximum: got 70,000, want 65,535"},
		here + ",domain=Example.com":            {"'/domain'", "'Example.com' does not match pattern"},
		here + ",smtp=localhost":                {"'/smtp'", "'localhost' does not match pattern"},
		here + ",mailFrom=shop":                 {"'/mailFrom'", "'shop' does not match pattern"},
		here + ",image.pullPolicy=Sometimes":    {"'/image/pullPolicy'", "'Always', 'IfNotPresent', 'Never'"},
		here + ",operator.image.digest=latest":  {"'/operator/image/digest'", "'latest' does not match pattern"},
		here + ",operator.resources.request=1":  {"'/operator/resources'", "'request' not allowed"},
		here + ",dispatcher.extraArgs={grace}":  {"'/dispatcher/extraArgs/0'", "'grace' does not match pattern '^-'"},
		here + ",nats.servers=2":                {"'/nats/servers'", "one of <nil>, 1, 3"},
		here + ",nats.streamReplicas=2":         {"'/nats/streamReplicas'", "one of <nil>, 1, 3, 5"},
		here + ",nats.url=localhost:4222":       {"'/nats/url'", "'localhost:4222' does not match pattern"},
		here + ",nats.storage.size=10G":         {"'/nats/storage/size'", "'10G' does not match pattern"},
		here + ",knative.minVersion=1.23":       {"'/knative/minVersion'"},
		here + ",podMonitor.interval=fast":      {"'/podMonitor/interval'", "'fast' does not match pattern"},
		here + ",nats.credentialsSecret.name=x": {"nats.credentialsSecret is for an existing NATS: set nats.url"},
		here + ",nats.streamReplicas=3":         {"nats.streamReplicas is 3, but NATS has 1 server"},
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, "helm", "template", "serviceful", chart, "--set", set)
			if err == nil {
				t.Fatalf("it renders:\n%s", out)
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v\nlacks %q", err, w)
				}
			}
		})
	}
}
