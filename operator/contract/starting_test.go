package contract

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

var starting = &chapter{
	name: "starting",
	spec: `
scale: {concurrency: 0, max: 1}
triggers:
- {name: s1, http: {methods: [GET], path: /starting/s1}}
- {name: s1-event, http: {methods: [POST], path: /starting/s1, async: true}}`,
	clauses: []clause{
		{"S1", "one process listens on $PORT for every trigger", oneProcess},
		{"S2", "the environment that it finds", environment},
		{"S3", "those names are refused in env", reservedNames},
		{"S4", "started by a call, which waits until it listens", startedByACall},
		{"S5", "stopped by SIGTERM after scale.idle", stoppedWhenIdle},
		{"S6", "an update lets calls under way end", updated},
		{"S7", "what does not start answers 502, with a problem", neverStarts},
	},
}

func oneProcess(c *C) {
	c.send("GET", "/starting/s1", "").want(http.StatusOK)
	c.accepted("POST", "/starting/s1", "")
	a, b := c.await("s1", 1)[0], c.await("s1-event", 1)[0]
	if a.Instance != b.Instance {
		c.Errorf("two triggers have called the instances %s and %s", a.Instance, b.Instance)
	}
}

func environment(c *C) {
	var env map[string]string
	c.do(c.function, order{Do: "environment"}, &env)
	for _, name := range []string{"PORT", "K_SERVICE", "K_REVISION", "K_SINK", "SERVICEFUL_URL", "SERVICEFUL_TOKEN_FILE"} {
		if env[name] == "" {
			c.Errorf("%s is not set", name)
		}
	}
	if env["K_SERVICE"] != c.function || env["K_SINK"] != env["SERVICEFUL_URL"]+"/v1/events" || env["DIRECTOR"] != c.director.url {
		c.Errorf("K_SERVICE is %q, K_SINK %q, SERVICEFUL_URL %q, and one of the manifest's %q", env["K_SERVICE"], env["K_SINK"], env["SERVICEFUL_URL"], env["DIRECTOR"])
	}
}

func reservedNames(c *C) {
	for _, name := range []string{"PORT", "K_SINK", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "SERVICEFUL_TOKEN_FILE", "SERVICEFUL_OWN"} {
		// The Function has variables already: the first of the next ones is added to them.
		said := c.refuse(c.T, function{"reserved", "- {name: " + name + ", value: mine}\ntriggers: []"})
		if !strings.Contains(said, "set by the platform") {
			c.Errorf("of %s it is said %q", name, said)
		}
	}
	if said := c.refuse(c.T, function{"reserved", "triggers: []"}); said != "" {
		c.Errorf("without them it is said %q", said)
	}
}

// idle is the spec of a Function that stops as soon as it may.
const idle = "scale: {concurrency: 0, max: 1, idle: 6s}\n"

func startedByACall(c *C) {
	held, calledAt := make(chan struct{}), make(chan struct{}, 1)
	var hold atomic.Bool
	c.director.onStart("sleeper", func() answer {
		if hold.Load() {
			calledAt <- struct{}{}
			<-held
		}
		return answer{}
	})
	c.with("sleeper", idle+"triggers: [{name: s4, http: {path: /sleeper/s4}}]")
	c.send("GET", "/sleeper/s4", "").want(http.StatusOK)
	hold.Store(true)
	c.eventually("it has ended", func() bool { return len(c.director.heard("sleeper", "term")) > 0 })
	answered := make(chan response)
	go func() { answered <- c.send("GET", "/sleeper/s4", "") }()
	<-calledAt
	if n := len(c.director.calls("sleeper", "s4")); n != 1 {
		c.Errorf("it was called %d times, and does not listen yet", n)
	}
	close(held)
	(<-answered).want(http.StatusOK)
}

func stoppedWhenIdle(c *C) {
	c.with("idler", idle+"triggers: [{name: s5, http: {path: /idler/s5}}]")
	c.send("GET", "/idler/s5", "").want(http.StatusOK)
	first := c.awaitOf("idler", "s5", 1)[0].Instance
	c.eventually("it is asked to end", func() bool {
		told := c.director.heard("idler", "term")
		return len(told) > 0 && told[len(told)-1].Instance == first
	})
	c.send("GET", "/idler/s5", "").want(http.StatusOK)
	if second := c.awaitOf("idler", "s5", 2)[1].Instance; second == first {
		c.Error("the instance that was asked to end was called again")
	}
	killedLater(c)
}

// killedLater checks how long an instance may live that was asked to end.
func killedLater(c *C) {
	const atLeast = 10 * time.Second
	lived := make(chan time.Duration, 1)
	c.director.onTerm("stubborn", func(gone <-chan struct{}) {
		asked := time.Now()
		select {
		case <-gone:
		case <-time.After(patience):
		}
		lived <- time.Since(asked)
	})
	c.with("stubborn", idle+"triggers: [{name: s5, http: {path: /stubborn/s5}}]")
	c.send("GET", "/stubborn/s5", "").want(http.StatusOK)
	if c.name() == "cluster" { // there it lives for longer than a test waits
		c.eventually("it is asked to end", func() bool { return len(c.director.heard("stubborn", "term")) > 0 })
		select {
		case passed := <-lived:
			c.Errorf("it was killed after %v", passed)
		case <-time.After(atLeast):
		}
		return
	}
	switch passed := <-lived; {
	case passed >= patience:
		c.Error("it was never killed")
	case passed < atLeast-time.Second: // it says that it was asked a moment after it was
		c.Errorf("it was killed after %v", passed)
	}
}

func updated(c *C) {
	const spec = "timeout: 5m\ntriggers: [{name: s6, http: {path: /updated/s6}}]\n"
	c.with("updated", spec)
	held := make(chan struct{})
	c.director.on("updated", "s6", func(r *request) answer {
		if r.Target == "/updated/s6?held" {
			<-held
		}
		return answer{Body: r.Instance}
	})
	answered := make(chan response)
	go func() { answered <- c.send("GET", "/updated/s6?held", "") }()
	old := c.awaitOf("updated", "s6", 1)[0].Instance
	c.apply(c.T, true, function{"updated", "- {name: VERSION, value: new}\n" + spec})
	c.eventually("the new instance is called", func() bool { return c.send("GET", "/updated/s6", "").want(http.StatusOK).body != old })
	asked := func() bool {
		return slices.ContainsFunc(c.director.heard("updated", "term"), func(m message) bool { return m.Instance == old })
	}
	if asked() {
		c.Error("it was asked to end in the middle of a call")
	}
	close(held)
	(<-answered).want(http.StatusOK, old)
	c.eventually("the old instance is asked to end", asked)
}

func neverStarts(c *C) {
	if c.name() == "cluster" {
		c.skip("Knative takes minutes to give a revision up")
	}
	c.director.onStart("broken", func() answer { return answer{Do: "exit"} })
	c.with("broken", "triggers: [{name: s7, http: {path: /broken}}]")
	c.send("GET", "/broken", "").problem(http.StatusBadGateway, "function-not-started")
}
