package manifest

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// shared is one Validator for all tests: it is safe for concurrent use.
var shared = sync.OnceValues(NewValidator)

func validator(tb testing.TB) *Validator {
	tb.Helper()
	v, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// readSpec reads a Function with a name and this spec.
func readSpec(tb testing.TB, spec string) ([]*Manifest, []Problem) {
	tb.Helper()
	return validator(tb).read("f.yaml", []byte("apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {name: offers}\nspec: {"+spec+"}\n"))
}

// A rule's case is a spec, the field that is refused, and the end of the message.
type ruleCase struct{ spec, field, message string }

const image = "image: ko://x, "

func trigger(fields string) string { return image + "triggers: [{name: a, " + fields + "}]" }
func event(fields string) string   { return trigger("event: {types: [a.b], " + fields + "}") }
func deliver(fields string) string { return trigger("event: {types: [a]}, delivery: {" + fields + "}") }
func clock(fields string) string   { return trigger("schedule: {" + fields + "}") }
func route(path string) string     { return trigger("http: {path: '" + path + "'}") }

const (
	label     = "must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	eventType = "must be an event type: dot-separated tokens of letters, digits, '_' and '-', such as offers.offer.redeemed.v1; only the last token may be *"
	reserved  = "PORT, K_SERVICE, K_REVISION, K_CONFIGURATION, K_SINK and SERVICEFUL_* are set by the platform: choose another name"
	timeout   = "must be a duration from 100ms to 1h, such as 30s"
	idle      = "must be a duration from 6s to 1h, such as 60s"
	keys      = "must be a key or a pattern of keys: dot-separated tokens of letters, digits, '-', '/', '_' and '=', such as allocation.>; a token may be *, which stands for one, and the last may be >, which stands for one or more"
	maxAge    = "must be a duration from 1s to 72h, such as 6h"
	window    = "must be a duration from 0s to 5m, such as 5s"
	backoff   = "must be an ISO 8601 duration of hours, minutes and seconds from PT0.25S to PT5M, such as PT1S"
	source    = "exactly one of the fields in [http event schedule object keyValue queue] must be set"
	service   = "exactly one of the fields in [keyValue objects queue mail function] must be set"
	attribute = "must map CloudEvents attribute names, at most 20 lower-case letters and digits, to values of at most 256 characters"
	pattern   = "must be a path pattern: segments such as /members/{number}; {name...} and {$} only as the last segment; no empty segment, no '.' or '..', no query"
	parameter = "every parameter of a path needs a name of its own, whatever its case"
	ours      = "/calls, /healthz and /readyz belong to the platform: choose another path"
	cron      = "must be five cron fields (minute, hour, day of month, month, day of week), six with the second first, or @every and a duration: '30 2 * * *', '@every 90s'"
	interval  = "an interval must be from 1s to 8760h"
	zone      = "must be an IANA time zone such as Europe/London"
	minMax    = "min must not be greater than max (default 20)"
)

var specRules = map[string]ruleCase{
	"image with a space":      {"image: 'a b'", "spec.image", "must be an image reference without spaces, such as ko://example.com/shop/functions/offers or registry.example.com/offers:v1"},
	"timeout syntax":          {image + "timeout: 1d", "spec.timeout", timeout},
	"timeout too short":       {image + "timeout: 99ms", "spec.timeout", timeout},
	"timeout too long":        {image + "timeout: 1h1s", "spec.timeout", timeout},
	"idle too short":          {image + "scale: {idle: 5s}", "spec.scale.idle", idle},
	"idle too long":           {image + "scale: {idle: 61m}", "spec.scale.idle", idle},
	"min above max":           {image + "scale: {min: 3, max: 2}", "spec.scale.min", minMax},
	"min above default max":   {image + "scale: {min: 21}", "spec.scale.min", minMax},
	"emits a space":           {image + "emits: ['a b']", "spec.emits[0]", eventType},
	"emits an empty token":    {image + "emits: [a..b]", "spec.emits[0]", eventType},
	"emits a star in between": {image + "emits: [a.*.b]", "spec.emits[0]", eventType},
	"emits a star in a token": {image + "emits: [a.b*]", "spec.emits[0]", eventType},
	"env PORT":                {image + "env: [{name: PORT}]", "spec.env[0].name", reserved},
	"env K_SINK":              {image + "env: [{name: K_SINK}]", "spec.env[0].name", reserved},
	"env K_SERVICE":           {image + "env: [{name: K_SERVICE}]", "spec.env[0].name", reserved},
	"env K_REVISION":          {image + "env: [{name: K_REVISION}]", "spec.env[0].name", reserved},
	"env K_CONFIGURATION":     {image + "env: [{name: K_CONFIGURATION}]", "spec.env[0].name", reserved},
	"env SERVICEFUL_":         {image + "env: [{name: SERVICEFUL_URL}]", "spec.env[0].name", reserved},
	"env name syntax":         {image + "env: [{name: 1A}]", "spec.env[0].name", "must be letters, digits, '_', '-' and '.', not starting with a digit"},
	"env two values":          {image + "env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]", "spec.env[0]", "set value or valueFrom, not both"},
	"env no source":           {image + "env: [{name: A, valueFrom: {}}]", "spec.env[0].valueFrom", "exactly one of the fields in [secretKeyRef configMapKeyRef fieldRef] must be set"},
	"envFrom no source":       {image + "envFrom: [{prefix: A}]", "spec.envFrom[0]", "exactly one of the fields in [configMapRef secretRef] must be set"},
	"volume name":             {image + "volumes: [{name: A, emptyDir: {}}]", "spec.volumes[0].name", label},
	"volume of two sources":   {image + "volumes: [{name: a, emptyDir: {}, configMap: {name: x}}]", "spec.volumes[0]", "exactly one of the fields in [secret configMap projected emptyDir] must be set"},
	"projection of no source": {image + "volumes: [{name: a, projected: {sources: [{}]}}]", "spec.volumes[0].projected.sources[0]", "exactly one of the fields in [secret configMap serviceAccountToken] must be set"},
	"mount of no volume":      {image + "volumeMounts: [{name: a, mountPath: /a}]", "spec.volumeMounts", "every volumeMount must name one of spec.volumes"},
	"mount path":              {image + "volumes: [{name: a, emptyDir: {}}], volumeMounts: [{name: a, mountPath: a}]", "spec.volumeMounts[0].mountPath", "must be an absolute path without ':'"},
	"binding of no service":   {image + "bindings: [{}]", "spec.bindings[0]", service},
	"binding of two services": {image + "bindings: [{mail: {}, keyValue: {bucket: a}}]", "spec.bindings[0]", service},
	"store name":              {image + "bindings: [{objects: {store: a_b}}]", "spec.bindings[0].objects.store", label},
	"store bound twice":       {image + "bindings: [{objects: {store: a}}, {objects: {store: a, access: Read}}]", "spec.bindings", "an object store may be bound once only"},
	"queue name":              {image + "bindings: [{queue: {name: a.b}}]", "spec.bindings[0].queue.name", label},
	"function name":           {image + "bindings: [{function: {name: 1a}}]", "spec.bindings[0].function.name", "must be a function's name: lower-case letters, digits and '-', starting with a letter and ending with a letter or a digit"},
	"bucket name":             {image + "bindings: [{keyValue: {bucket: a_b}}]", "spec.bindings[0].keyValue.bucket", label},
	"bucket bound twice":      {image + "bindings: [{keyValue: {bucket: a}}, {mail: {}}, {keyValue: {bucket: a, access: Read}}]", "spec.bindings", "a key-value bucket may be bound once only"},
	"trigger name":            {image + "triggers: [{name: A.b, http: {path: /}}]", "spec.triggers[0].name", label},
	"trigger of no source":    {image + "triggers: [{name: a}]", "spec.triggers[0]", source},
	"trigger of two sources":  {trigger("http: {path: /}, event: {types: [a]}"), "spec.triggers[0]", source},
	"store of a trigger":      {trigger("object: {store: a.b}"), "spec.triggers[0].object.store", label},
	"bucket of a trigger":     {trigger("keyValue: {bucket: A}"), "spec.triggers[0].keyValue.bucket", label},
	"keys of a trigger":       {trigger("keyValue: {bucket: a, keys: 'a*'}"), "spec.triggers[0].keyValue.keys", keys},
	"cron of four fields":     {clock("cron: '* * * *'"), "spec.triggers[0].schedule.cron", cron},
	"cron of seven fields":    {clock("cron: '* * * * * * *'"), "spec.triggers[0].schedule.cron", cron},
	"cron with a zone":        {clock("cron: 'TZ=UTC * * * * *'"), "spec.triggers[0].schedule.cron", cron},
	"cron of a word":          {clock("cron: '@daily'"), "spec.triggers[0].schedule.cron", cron},
	"cron of nothing in it":   {clock("cron: ', * * * * *'"), "spec.triggers[0].schedule.cron", cron},
	"no interval":             {clock("cron: '@every now'"), "spec.triggers[0].schedule.cron", cron},
	"interval too short":      {clock("cron: '@every 999ms'"), "spec.triggers[0].schedule.cron", interval},
	"interval too long":       {clock("cron: '@every 8761h'"), "spec.triggers[0].schedule.cron", interval},
	"interval in a zone":      {clock("cron: '@every 1s', timeZone: UTC"), "spec.triggers[0].schedule.timeZone", "@every counts from when it was set, whatever a clock shows: remove timeZone"},
	"zone of a path":          {clock("cron: '* * * * *', timeZone: ../UTC"), "spec.triggers[0].schedule.timeZone", zone},
	"the machine's zone":      {clock("cron: '* * * * *', timeZone: Local"), "spec.triggers[0].schedule.timeZone", zone},
	"times in a batch":        {trigger("schedule: {cron: '* * * * *'}, delivery: {batch: {size: 2}}"), "spec.triggers[0].delivery.batch", "a schedule has a call for each of its times: remove batch"},
	"one call and several":    {trigger("schedule: {cron: '* * * * *'}, delivery: {concurrency: 1}"), "spec.triggers[0].delivery.concurrency", "without overlap a schedule's calls are made one at a time: set schedule.overlap to true or remove concurrency"},
	"queue of a trigger":      {trigger("queue: {name: a.b}"), "spec.triggers[0].queue.name", label},
	"path syntax":             {trigger("path: 'a?b', event: {types: [a]}"), "spec.triggers[0].path", "must be an absolute URL path without a query, such as /events/joined"},
	"path of an http trigger": {trigger("path: /a, http: {path: /}"), "spec.triggers[0].path", "an http trigger gets the caller's own path: write spec.triggers[].http.path only"},
	"delivery of a sync call": {trigger("delivery: {}, http: {path: /}"), "spec.triggers[0].delivery", "a synchronous http trigger has no delivery, because nothing is retried: set http.async to true or remove delivery"},
	"host with a port":        {trigger("http: {path: /, hosts: ['a:80']}"), "spec.triggers[0].http.hosts[0]", "must be a lower-case host name without a port, such as shop.example.com"},
	"route syntax":            {route("/a/{b"), "spec.triggers[0].http.path", pattern},
	"route parameter twice":   {route("/{a}/{A}"), "spec.triggers[0].http.path", parameter},
	"route of the platform":   {route("/calls/{id}"), "spec.triggers[0].http.path", ours},
	"event type":              {trigger("event: {types: ['*.a']}"), "spec.triggers[0].event.types[0]", eventType},
	"filter of no dialect":    {event("filters: [{}]"), "spec.triggers[0].event.filters[0]", "exactly one of the fields in [exact prefix suffix cesql all any not] must be set"},
	"inner filter":            {event("filters: [{not: {}}]"), "spec.triggers[0].event.filters[0].not", "exactly one of the fields in [exact prefix suffix cesql] must be set"},
	"filter attribute":        {event("filters: [{exact: {Type: a}}]"), "spec.triggers[0].event.filters[0].exact", attribute},
	"inner filter attribute":  {event("filters: [{any: [{prefix: {a-b: a}}]}]"), "spec.triggers[0].event.filters[0].any[0].prefix", attribute},
	"backoffDelay too short":  {deliver("backoffDelay: PT0.24S"), "spec.triggers[0].delivery.backoffDelay", backoff},
	"backoffDelay too long":   {deliver("backoffDelay: PT5M1S"), "spec.triggers[0].delivery.backoffDelay", backoff},
	"backoffDelay of nothing": {deliver("backoffDelay: PT"), "spec.triggers[0].delivery.backoffDelay", backoff},
	"delivery timeout":        {deliver("timeout: 30s"), "spec.triggers[0].delivery.timeout", "must be an ISO 8601 duration of hours, minutes and seconds from PT0.1S to PT1H, such as PT30S"},
	"retryAfterMax":           {deliver("retryAfterMax: PT73H"), "spec.triggers[0].delivery.retryAfterMax", "must be an ISO 8601 duration of hours, minutes and seconds from PT0S to PT72H, such as PT5M"},
	"maxAge too long":         {deliver("maxAge: 73h"), "spec.triggers[0].delivery.maxAge", maxAge},
	"maxAge too short":        {deliver("maxAge: 0s"), "spec.triggers[0].delivery.maxAge", maxAge},
	"batch of a call":         {trigger("http: {path: /, async: true}, delivery: {batch: {size: 2}}"), "spec.triggers[0].delivery.batch", "the calls of an http trigger are its callers' requests, and cannot share one: remove batch"},
	"window syntax":           {deliver("batch: {size: 2, window: PT5S}"), "spec.triggers[0].delivery.batch.window", window},
	"window too long":         {deliver("batch: {size: 2, window: 5m1s}"), "spec.triggers[0].delivery.batch.window", window},
	"window of one":           {deliver("batch: {window: 5s}"), "spec.triggers[0].delivery.batch.size", "a window is the wait for more events: set size to 2 or more, or remove window"},
	"window beyond maxAge":    {deliver("batch: {size: 2, window: 60s}, maxAge: 1m"), "spec.triggers[0].delivery.batch.window", "an event would be dead (maxAge) before its batch is called: make batch.window shorter than maxAge"},
	"orderBy syntax":          {deliver("orderBy: Member-Number"), "spec.triggers[0].delivery.orderBy", "must be the name of a CloudEvents attribute: 1 to 20 lower-case letters and digits, such as subject"},
	"orderBy of a call":       {trigger("http: {path: /, async: true}, delivery: {orderBy: subject}"), "spec.triggers[0].delivery.orderBy", "only events have an attribute to be ordered by, and the calls of http and schedule triggers have not: remove orderBy"},
	"startFrom syntax":        {deliver("startFrom: yesterday"), "spec.triggers[0].delivery.startFrom", "must be New, All or an RFC 3339 time such as 2026-01-31T12:00:00Z"},
	"startFrom of a call":     {trigger("http: {path: /, async: true}, delivery: {startFrom: All}"), "spec.triggers[0].delivery.startFrom", "only an event, keyValue or object trigger has a log to start from: remove startFrom"},
	"outcome's type":          {deliver("onSuccess: {eventType: 'a.*'}"), "spec.triggers[0].delivery.onSuccess.eventType", "must be an event type: dot-separated tokens of letters, digits, '_' and '-', such as offers.import.ended.v1"},
	"outcome's queue":         {deliver("onFailure: {queue: a.b}"), "spec.triggers[0].delivery.onFailure.queue", label},
	"destination of nothing":  {deliver("onFailure: {}"), "spec.triggers[0].delivery.onFailure", "exactly one of the fields in [eventType queue] must be set"},
}

// changeRules are refused as a change of what is there: only an API server knows
// that.
var changeRules = map[string]struct{ old, spec, field, message string }{
	"startFrom added":   {event(""), deliver("startFrom: All"), "spec.triggers[0].delivery", start},
	"startFrom changed": {deliver("startFrom: All"), deliver("startFrom: 2026-01-31T12:00:00Z"), "spec.triggers[0].delivery", start},
	"startFrom of keys": {
		trigger("keyValue: {bucket: a}, delivery: {startFrom: All}"), trigger("keyValue: {bucket: a}"), "spec.triggers[0].delivery", start,
	},
	"startFrom of another source": {
		trigger("object: {store: a}"), trigger("event: {types: [a]}, delivery: {startFrom: All}"), "spec.triggers[0].delivery", start,
	},
	"startFrom removed": {deliver("startFrom: All"), event(""), "spec.triggers[0].delivery", start},
}

// TestKeys goes through the patterns of keys.
func TestKeys(t *testing.T) {
	for pattern, valid := range map[string]bool{
		"a": true, "a.b": true, "*": true, ">": true, "a.*": true, "*.b": true, "a.*.c.>": true, "a/b=_-.C9": true,
		"": false, "a*": false, "a.>.b": false, "a>": false, ".a": false, "a.": false, "a..b": false, "a b": false, "é": false, "a.**": false,
		strings.Repeat("a", 256): true, strings.Repeat("a", 257): false,
	} {
		functions, problems := readSpec(t, trigger("keyValue: {bucket: a, keys: '"+pattern+"'}"))
		if valid != (len(functions) == 1) {
			t.Errorf("%q: valid should be %t, got %q", pattern, valid, problems)
		}
	}
}

const start = "startFrom is where a new trigger starts and cannot be changed: give the trigger another name"

const nameRule = "metadata.name must be at most 50 lower-case letters, digits and '-', starting with a letter and ending with a letter or a digit"

func TestRules(t *testing.T) {
	for name, c := range specRules {
		t.Run(name, func(t *testing.T) {
			functions, problems := readSpec(t, c.spec)
			if len(functions) > 0 {
				t.Fatal("accepted")
			}
			if !slices.ContainsFunc(problems, func(p Problem) bool {
				return p.Field == c.field && strings.HasSuffix(p.Message, c.message) && p.Line == 4
			}) {
				t.Errorf("got %q, want %s: ... %s", problems, c.field, c.message)
			}
		})
	}
}

func TestNameRule(t *testing.T) {
	for name, valid := range map[string]bool{
		"offers": true, "o": true, "o-1": true, strings.Repeat("a", 50): true,
		strings.Repeat("a", 51): false, "1o": false, "Offers": false, "o.f": false, "o-": false,
	} {
		_, problems := validator(t).read("f.yaml", []byte("apiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata:\n  name: "+name+"\nspec: {image: x}\n"))
		refused := slices.ContainsFunc(problems, func(p Problem) bool {
			return strings.HasSuffix(p.Message, nameRule) && p.Field == "metadata.name" && p.Line == 4
		})
		if refused == valid {
			t.Errorf("%s: valid should be %t, got %q", name, valid, problems)
		}
	}
}

// TestEveryRuleHasACase fails when the definition gains a rule that no test knows.
func TestEveryRuleHasACase(t *testing.T) {
	tested := map[string]bool{nameRule: true}
	for _, c := range changeRules {
		tested[c.message] = true
	}
	for _, c := range specRules {
		tested[c.message] = true
	}
	visit(validator(t).structural, "", func(path string, s *schema.Structural) {
		for _, rule := range s.XValidations {
			if !tested[rule.Message] {
				t.Errorf("%s has a rule without a test: %s", path, rule.Message)
			}
		}
	})
}

// visit calls do for every node of a schema.
func visit(s *schema.Structural, path string, do func(string, *schema.Structural)) {
	do(path, s)
	for name, property := range s.Properties {
		visit(&property, strings.TrimPrefix(path+"."+name, "."), do)
	}
	if s.Items != nil {
		visit(s.Items, path+"[]", do)
	}
}

// TestRoutes compares the rules with net/http's own parser: what they accept, it
// accepts, and what they refuse beyond it has a reason.
func TestRoutes(t *testing.T) {
	for path, want := range map[string]string{
		"/": "", "/{$}": "", "/{rest...}": "", "/members": "", "/members/": "", "/members/{$}": "", "/calls2": "", "/healthz/x": "",
		"/members/{number}/offers/{offer}/redemptions": "", "/a.b/~c/d%20e/f@g": "", "/{a}/{ab}": "", "/v1...": "", "/{_}/{a1...}": "",
		"members": pattern, "//": pattern, "/a//b": pattern, "/a/./b": pattern, "/a/..": pattern, "/a?b": pattern, "/a#b": pattern, "/a b": pattern,
		"/{}": pattern, "/{a": pattern, "/a}": pattern, "/a{b}": pattern, "/{a}b": pattern, "/{1}": pattern, "/{a...}/b": pattern, "/{$}/b": pattern, "/{...}": pattern,
		"/%2e%2e": pattern, "/%63alls/x": pattern, "/a%2Fb": pattern, "/a%": pattern, "/é": pattern,
		"/{a}/{a}": parameter, "/{id}/{Id}": parameter, "/{a}/{a...}": parameter, "/{A}/x/{a...}": parameter,
		"/calls": ours, "/calls/": ours, "/calls/{id}": ours, "/healthz": ours, "/readyz": ours,
	} {
		_, problems := readSpec(t, route(path))
		if want == "" && len(problems) > 0 {
			t.Errorf("%s: %q", path, problems)
		}
		if want != "" && !slices.ContainsFunc(problems, func(p Problem) bool { return strings.HasSuffix(p.Message, want) }) {
			t.Errorf("%s: got %q, want %s", path, problems, want)
		}
		if want == "" {
			http.NewServeMux().Handle("GET "+path, http.NotFoundHandler()) // panics on a pattern it does not accept
		}
	}
}

func TestAccepted(t *testing.T) {
	for name, spec := range map[string]string{
		"least":           image,
		"event types":     image + "emits: ['*', a, 'a.*', a-b.C_d.v1]",
		"durations":       image + "timeout: 1m30s, scale: {idle: 6s}",
		"the longest":     image + "timeout: 1h, scale: {idle: 3600s, min: 20}",
		"delivery":        deliver("retry: 0, backoffPolicy: linear, backoffDelay: PT0.25S, timeout: PT1M30S, retryAfterMax: PT0S, maxAge: 72h, concurrency: 1"),
		"async delivery":  trigger("http: {path: /, async: true}, delivery: {}"),
		"a cron":          clock("cron: '*/5 0-6,12 1,15 JAN-jun ?', timeZone: America/Argentina/Buenos_Aires, missed: Skip"),
		"with seconds":    clock("cron: '0  30 2 * * Mon', timeZone: Etc/GMT+5"),
		"an interval":     clock("cron: '@every 1h0m1.5s'"),
		"overlapping":     trigger("schedule: {cron: '@every 1s', overlap: true}, delivery: {concurrency: 3}"),
		"not paused":      trigger("http: {path: /}, paused: false"),
		"keys":            trigger("keyValue: {bucket: a, keys: a.>}, path: /a, delivery: {startFrom: All, batch: {size: 2}}"),
		"every key":       trigger("keyValue: {bucket: a-1}"),
		"objects":         trigger("object: {store: a, keys: 'in/**/[a]?*.csv'}, delivery: {startFrom: 2026-01-31T12:00:00Z}"),
		"every object":    trigger("object: {store: a}, paused: true"),
		"filters":         event("filters: [{exact: {source: x}}, {all: [{prefix: {a: b}}, {cesql: 'true'}]}, {not: {suffix: {type: v1}}}]"),
		"null is nothing": image + "timeout: null, scale: null, triggers: null",
		"pod fields": image + `command: [a], args: [b], env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}], envFrom: [{secretRef: {name: s}}],
  resources: {limits: {cpu: 1, memory: 64Mi}}, imagePullSecrets: [{name: p}],
  volumes: [{name: tmp, emptyDir: {sizeLimit: 1Mi}}, {name: c, projected: {sources: [{configMap: {name: x}}]}}], volumeMounts: [{name: tmp, mountPath: /tmp}]`,
	} {
		if functions, problems := readSpec(t, spec); len(functions) != 1 {
			t.Errorf("%s: %q", name, problems)
		}
	}
}
