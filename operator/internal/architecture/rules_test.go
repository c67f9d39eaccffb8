package architecture

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type layer string

const (
	api       layer = "api"
	think     layer = "think"
	touch     layer = "touch"
	run       layer = "run"
	worlds    layer = "worlds"
	measure   layer = "measure"
	cmd       layer = "cmd"
	testkit   layer = "testkit"
	generated layer = "generated"
	functions layer = "functions"
	tools     layer = "tools"
)

// rooms places every package, or the folder it is in, in a layer.
var rooms = map[string]layer{
	"operator/api":                   api,
	"operator/internal/names":        think,
	"operator/internal/route":        think,
	"operator/internal/delivery":     think,
	"operator/internal/order":        think,
	"operator/internal/event":        think,
	"operator/internal/envelope":     think,
	"operator/internal/dead":         think,
	"operator/internal/filter":       think,
	"operator/internal/schedule":     think,
	"operator/internal/wiring":       think,
	"operator/internal/graph":        think,
	"operator/internal/render":       think,
	"operator/internal/bus":          touch,
	"operator/internal/identity":     touch,
	"operator/internal/invoke":       touch,
	"operator/internal/mail":         touch,
	"operator/internal/manifest":     touch,
	"operator/internal/serve":        touch,
	"operator/internal/dispatch":     run,
	"operator/internal/gateway":      run,
	"operator/internal/services":     run,
	"operator/internal/controller":   run,
	"operator/internal/metrics":      measure,
	"operator/internal/local":        worlds,
	"operator/internal/kube":         worlds,
	"operator/cmd":                   cmd,
	"operator/internal/testkit":      testkit,
	"operator/contract":              testkit,
	"operator/e2e":                   testkit,
	"operator/e2e/stub":              functions,
	"operator/internal/architecture": testkit,
	"config/crd":                     generated,
	"functions":                      functions,
	"examples":                       functions,
	"hack":                           tools,
}

// rules say which layers of ours a layer may import, and why no others.
var rules = map[layer]struct {
	may []layer
	why string
}{
	api:       {nil, "the kind is what all the rest is about, and knows nothing of it"},
	think:     {[]layer{api, think}, "thinking needs no outside thing: take what it found out as an argument"},
	touch:     {[]layer{api, think, generated}, "each touches one outside thing: what two of them need belongs into a think package"},
	run:       {[]layer{api, think, touch}, "loops meet in NATS, and reach a world through an interface that they declare themselves"},
	worlds:    {[]layer{api, think, touch, worlds}, "a world does not know the loops: cmd puts them together"},
	measure:   {[]layer{api, think, touch, run}, "it measures the loops by interfaces that they declare, whatever the world"},
	cmd:       {[]layer{api, think, touch, run, worlds, measure, cmd}, "a program is put together from the layers below; testkit is for tests"},
	testkit:   {[]layer{api, think, touch, testkit, generated}, "a neighbour for tests must not depend on what they test with it"},
	generated: {nil, "it is derived from the api by hack/generate"},
	functions: {[]layer{functions}, "a function speaks HTTP and knows nothing of the platform"},
	tools:     {[]layer{tools}, "a tool looks at the platform from outside"},
}

// thoughts are the edges inside think, each of them.
var thoughts = map[string][]string{
	"event":    {"names"},
	"envelope": {"names"},
	"dead":     {"names", "delivery", "envelope"},
	"filter":   {"event"},
	"schedule": {"names", "event", "envelope"},
	"wiring":   {"names", "route", "delivery", "event", "filter", "schedule"},
	"graph":    {"names", "delivery", "wiring"},
	"render":   {}, // of ours, the api is all it needs
}

// owners are the rooms that alone import a package of others. Tests may, too.
var owners = []struct {
	prefix string
	rooms  []string
	why    string
}{
	{"github.com/nats-io", []string{"operator/internal/bus"}, "all that is done with NATS is done there"},
	{"github.com/wneessen/go-mail", []string{"operator/internal/mail"}, "SMTP is its one outside thing"},
	{"github.com/fsnotify", []string{"operator/internal/local/watch"}, "watching files is what it is for"},
	{"github.com/spf13", []string{"operator/cmd"}, "flags and environment end in cmd: take a checked configuration"},
	{"flag", []string{"operator/cmd"}, "flags and environment end in cmd: take a checked configuration"},
	{"k8s.io/apiextensions-apiserver", []string{"operator/internal/manifest"}, "it validates as the API server does"},
	{"k8s.io/client-go", cluster, "the laptop runs the same code, without a cluster"},
	{"sigs.k8s.io/controller-runtime", cluster, "the laptop runs the same code, without a cluster"},
	{"knative.dev/serving", append(cluster, "operator/internal/render"), "what runs a function is the world's to know"},
	{"github.com/prometheus", []string{"operator/internal/metrics"}, "a loop is measured through an interface of its own, and does not know by what"},
	{"os/exec", []string{"operator/internal/local"}, "only the laptop's world starts processes"},
}

// cluster are the rooms that know there is a Kubernetes cluster.
var cluster = []string{"operator/internal/kube", "operator/cmd/gateway", "operator/cmd/internal/dataplane", "operator/internal/controller", "operator/cmd/operator"}

// impure are packages that api and think do without, besides those of the
// network.
var impure = []string{
	"crypto/rand", "io/fs", "log", "math/rand", "os", "path/filepath", "runtime", "sync", "syscall",
	"github.com/nats-io", "k8s.io/client-go", "sigs.k8s.io/controller-runtime",
}

// values are all that api and think use of packages that can do more. Time zones
// count as constants.
var values = map[string]*regexp.Regexp{
	"net":      regexp.MustCompile(`^SplitHostPort$`),
	"net/http": regexp.MustCompile(`^(Header|CanonicalHeaderKey|Method\w+|Status\w+)$`),
	"time":     regexp.MustCompile(`^(Time|Duration|Date|Location|LoadLocation|Parse|ParseDuration|UTC|RFC\w+|Nanosecond|Microsecond|Millisecond|Second|Minute|Hour)$`),
}

// place is the layer of a package, "" for none. The longest entry counts.
func place(pkg string) layer {
	for room := pkg; room != "."; room = parent(room) {
		if l, ok := rooms[room]; ok {
			return l
		}
	}
	return ""
}

func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}

// within reports whether a package is a room or below it.
func within(pkg, room string) bool { return pkg == room || strings.HasPrefix(pkg, room+"/") }

// forbidden says why a package may not import another of ours, or "".
func forbidden(from, to string, test bool) string {
	of, at := place(from), place(to)
	rule := rules[of]
	switch {
	case from == to: // a test from outside
		return ""
	case at == testkit && test && of != functions:
		return ""
	case !slices.Contains(rule.may, at):
		return rule.why
	case of == think && at == think && !test && !slices.Contains(thoughts[name(from)], name(to)):
		return "the edges inside think are counted: add it to thoughts if it is meant"
	case of == functions && !within(to, "functions/serviceful"):
		return "functions share nothing but functions/serviceful"
	case within(to, "functions/serviceful/servicefultest") && !test:
		return "it is for tests"
	}
	return ""
}

func name(pkg string) string { return strings.TrimPrefix(pkg, "operator/internal/") }

// foreign says why a package may not import one that is not ours, or "".
func foreign(from, path string) string {
	for _, o := range owners {
		owned := slices.ContainsFunc(o.rooms, func(room string) bool { return within(from, room) })
		if within(path, o.prefix) && !owned && place(from) != testkit && place(from) != tools {
			return fmt.Sprintf("only %s imports it: %s", strings.Join(o.rooms, " and "), o.why)
		}
	}
	if l := place(from); l != api && l != think {
		return ""
	}
	network := within(path, "net") && path != "net/url" && values[path] == nil
	if network || slices.ContainsFunc(impure, func(p string) bool { return within(path, p) }) {
		return rules[think].why
	}
	return ""
}
