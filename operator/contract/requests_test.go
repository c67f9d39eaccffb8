package contract

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
)

var requests = &chapter{
	name: "requests",
	spec: `
scale: {concurrency: 0, max: 1}
timeout: 5m
triggers:
- {name: h1, http: {path: "/requests/h1/{rest...}"}}
- {name: h2, http: {methods: [GET], path: "/requests/h2/{number}/{offer}"}}
- {name: h3, http: {path: /requests/h3}}
- {name: h4, http: {path: /requests/h4}}
- {name: h5, http: {path: /requests/h5}}
- {name: h6, http: {path: /requests/h6}}
- {name: h7, http: {path: /requests/h7}}
- {name: h9, http: {path: /requests/h9}}
- {name: h10, http: {methods: [GET, PUT], path: "/requests/h10/{$}"}}
- {name: h11, http: {path: /requests/h11}}
- {name: h12, paused: true, http: {path: /requests/h12}}`,
	others: []function{{"hasty", "timeout: 1s\ntriggers: [{name: h8, http: {path: /hasty}}]"}},
	clauses: []clause{
		{"H1", "a request arrives as it was sent", requestUnchanged},
		{"H2", "headers that are added", requestHeaders},
		{"H3", "callers cannot set the platform's headers", platformHeaders},
		{"H4", "the answer goes to the caller untouched", answerUnchanged},
		{"H5", "an answer is passed on as it is written", answerStreamed},
		{"H6", "a body is passed on as it comes", bodyStreamed},
		{"H7", "a connection can change its protocol", upgraded},
		{"H8", "no answer within the timeout: 504", requestTimeout},
		{"H9", "a request is never repeated", neverRepeated},
		{"H10", "routes: patterns, 404 and 405", routes},
		{"H11", "bodies of 10 MiB, headers of 32 KiB", requestLimits},
		{"H12", "a paused trigger answers 503", requestPaused},
	},
}

func requestUnchanged(c *C) {
	body := "line\x00\xff\r\nend"
	c.send("PATCH", "/requests/h1/a%2Fb/%C3%A9%20c?x=1&x=%20&y", body, "X-Twice: one", "X-Twice: two", "Content-Type: application/x-own", "Authorization: Bearer caller", "Cookie: a=b").want(http.StatusOK)
	r := c.await("h1", 1)[0]
	if r.Method != "PATCH" || r.Target != "/requests/h1/a%2Fb/%C3%A9%20c?x=1&x=%20&y" || string(r.Body) != body {
		c.Errorf("it got %s %s with the body %q", r.Method, r.Target, r.Body)
	}
	if !slices.Equal(r.Header["X-Twice"], []string{"one", "two"}) || r.Header.Get("Content-Type") != "application/x-own" ||
		r.Header.Get("Authorization") != "Bearer caller" || r.Header.Get("Cookie") != "a=b" || r.Header.Get("Host") != host(c.ns()) {
		c.Errorf("it got the headers %v", r.Header)
	}
}

func requestHeaders(c *C) {
	c.send("GET", "/requests/h2/42/a%2Fb", "").want(http.StatusOK)
	h := c.await("h2", 1)[0].Header
	if h.Get("Serviceful-Trigger") != "h2" || h.Get("Serviceful-Path-Number") != "42" || h.Get("Serviceful-Path-Offer") != "a%2Fb" ||
		len(h.Get("Traceparent")) != 55 || h.Get("X-Forwarded-For") == "" || h.Get("X-Forwarded-Host") != host(c.ns()) || h.Get("X-Forwarded-Proto") != "http" {
		c.Errorf("it got %v", h)
	}
	if h.Get("Serviceful-Attempt") != "" || h.Get("Serviceful-Call-Id") != "" {
		c.Errorf("a synchronous request has an attempt or an id: %v", h)
	}
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	c.send("GET", "/requests/h2/1/2", "", "Traceparent: "+parent).want(http.StatusOK)
	if got := c.await("h2", 2)[1].Header.Get("Traceparent"); got[:35] != parent[:35] {
		c.Errorf("a caller's trace came as %s", got)
	}
}

func platformHeaders(c *C) {
	c.send("GET", "/requests/h3", "", "Serviceful-Attempt: 7", "Serviceful-Anything: x", "Nats-Msg-Id: y", "Serviceful-Trigger: h4").want(http.StatusOK)
	h := c.await("h3", 1)[0].Header
	if h.Get("Serviceful-Attempt")+h.Get("Serviceful-Anything")+h.Get("Nats-Msg-Id") != "" || !slices.Equal(h["Serviceful-Trigger"], []string{"h3"}) {
		c.Errorf("it got %v", h)
	}
}

func answerUnchanged(c *C) {
	c.on("h4", func(*request) answer {
		return answer{Status: 418, Header: []string{"Content-Type: text/own", "X-Twice: one", "X-Twice: two", "Location: /elsewhere", "Serviceful-Own: kept"}, Body: "<html>\xff"}
	})
	r := c.send("GET", "/requests/h4", "")
	if r.status != 418 || r.body != "<html>\xff" || !slices.Equal(r.header["X-Twice"], []string{"one", "two"}) || r.header.Get("Location") != "/elsewhere" || r.header.Get("Content-Type") != "text/own" {
		c.Errorf("the caller got %d %v %q", r.status, r.header, r.body)
	}
}

func answerStreamed(c *C) {
	gate := make(chan struct{})
	c.on("h5", func(*request) answer {
		return answer{Header: []string{"Content-Type: text/event-stream"}, Parts: []string{"data: one\n\n", "data: two\n\n"}, Gate: gate}
	})
	resp, err := c.open("GET", "/requests/h5", http.NoBody)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len("data: one\n\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: one\n\n" {
		c.Fatalf("read %q: %v", first, err)
	}
	close(gate) // the second part is not written before the first was read
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "data: two\n\n" {
		c.Errorf("read %q: %v", rest, err)
	}
}

func bodyStreamed(c *C) {
	r, w := io.Pipe()
	answered := make(chan response)
	go func() { answered <- c.sendReader("POST", "/requests/h6", r, "Stub-Early: 1") }()
	_, _ = io.WriteString(w, "one ")
	c.eventually("it has the beginning", func() bool { return len(c.director.heard(c.function, "early")) > 0 })
	_, _ = io.WriteString(w, "two")
	w.Close()
	(<-answered).want(http.StatusOK)
	if got := string(c.await("h6", 1)[0].Body); got != "one two" {
		c.Errorf("it got %q", got)
	}
}

func upgraded(c *C) {
	c.on("h7", func(*request) answer { return answer{Do: "echo", Header: []string{"Upgrade: echo"}} })
	address := strings.TrimPrefix(c.door(), "http://")
	if !strings.Contains(address, ":") {
		address = net.JoinHostPort(address, "80")
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		c.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /requests/h7 HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", host(c.ns()))
	read := bufio.NewReader(conn)
	resp, err := http.ReadResponse(read, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "echo" {
		c.Fatalf("got %v: %v", resp, err)
	}
	for _, word := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(conn, word)
		if heard, err := read.ReadString('\n'); err != nil || heard != word {
			c.Errorf("heard %q: %v", heard, err)
		}
	}
}

func requestTimeout(c *C) {
	held := make(chan struct{})
	c.Cleanup(func() { close(held) })
	c.director.on("hasty", "h8", func(*request) answer {
		<-held
		return answer{}
	})
	c.send("GET", "/hasty", "").problem(http.StatusGatewayTimeout, "function-timeout")
}

func neverRepeated(c *C) {
	c.inTurn("h9", status(500), answer{Do: "break"}, status(200))
	c.send("POST", "/requests/h9", "").want(500)
	broken := c.send("POST", "/requests/h9", "").want(http.StatusBadGateway)
	if c.name() == "laptop" { // on a cluster there may be a proxy that answers
		broken.problem(http.StatusBadGateway, "function-broke-off")
	}
	c.send("POST", "/requests/h9", "").want(200)
	if n := len(c.got("h9")); n != 3 {
		c.Errorf("three requests were %d calls", n)
	}
}

func routes(c *C) {
	c.send("GET", "/requests/h10/", "").want(200)
	c.send("HEAD", "/requests/h10/", "").want(200)
	c.send("GET", "/requests/h10/x", "").problem(404, "no-such-route")
	c.send("GET", "/requests/h10", "").problem(404, "no-such-route") // and no redirect
	r := c.send("POST", "/requests/h10/", "")
	r.problem(405, "method-not-allowed")
	if allow := r.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "PUT") {
		c.Errorf("it allows %q", allow)
	}
}

func requestLimits(c *C) {
	c.send("POST", "/requests/h11", strings.Repeat("x", 10<<20)).want(200)
	c.send("POST", "/requests/h11", strings.Repeat("x", 10<<20+1), "Expect: 100-continue").problem(413, "body-too-large")
	c.send("GET", "/requests/h11", "", "X-Long: "+strings.Repeat("x", 32<<10)).problem(431, "headers-too-large")
}

func requestPaused(c *C) {
	c.send("GET", "/requests/h12", "").problem(503, "trigger-paused")
}
