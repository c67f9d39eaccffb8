// Package pythongreeter holds the test of the Python example: it runs main.py against the same services in memory that the Go
// functions are tested with. It imports nothing of the platform.
package pythongreeter

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
)

func TestGreeter(t *testing.T) {
	services := servicefultest.New(t)
	function := start(t, services.Config)

	t.Run("counts every visit", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { servicefultest.Call(function, "GET", "/greetings/Zo%C3%AB", "") })
		}
		wg.Wait()
		got := servicefultest.Call(function, "GET", "/greetings/Zo%C3%AB", "")
		if answer := servicefultest.JSON[map[string]any](t, got, 200); answer["greeting"] != "Hello, Zoë!" || answer["visits"] != 11.0 {
			t.Errorf("answered %v", answer)
		}
	})
	t.Run("publishes with the token", func(t *testing.T) {
		for range 2 {
			r, answer := httptest.NewRequest("POST", "/greetings/Ada", strings.NewReader("Hi!")), httptest.NewRecorder()
			r.Header.Set("Serviceful-Call-Id", "call-1")
			function.ServeHTTP(answer, r)
			if posted := servicefultest.JSON[map[string]string](t, answer, 200); posted["name"] != "Ada" || posted["text"] != "Hi!" {
				t.Errorf("answered %v", posted)
			}
		}
		events := services.Events()
		if len(events) != 1 || events[0].ID != "call-1" || events[0].Type != "greeter.greeting.posted.v1" {
			t.Errorf("published %+v", events)
		}
	})
	t.Run("mails once and answers with an event", func(t *testing.T) {
		joined := serviceful.Event{
			ID: "joined-1", Source: "/membership", Type: "membership.member.joined.v1", Data: map[string]string{"number": "1"},
		}
		for range 2 {
			events := servicefultest.Answered(t, servicefultest.Deliver(t, function, "/events/joined", joined))
			if len(events) != 1 || events[0].ID != "greeted-joined-1" || string(events[0].Data.(json.RawMessage)) != `{"number": "1"}` {
				t.Errorf("answered %+v", events)
			}
		}
		if mails := services.Mails(); len(mails) != 1 || mails[0].Text != "Member 1 has joined." {
			t.Errorf("stored %+v", mails)
		}
	})
	t.Run("answers problems", func(t *testing.T) {
		servicefultest.WantProblem(t, servicefultest.Call(function, "GET", "/nothing", ""), 404)
		servicefultest.WantProblem(t, servicefultest.Call(function, "POST", "/events/joined", "{"), 400)
	})
}

// start runs main.py until the test ends, and then wants it to end by itself.
func start(t *testing.T, config serviceful.Config) http.Handler {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()

	var log strings.Builder
	command := exec.Command(python, "main.py")
	command.Env = append(os.Environ(), "PORT="+address[strings.LastIndex(address, ":")+1:], "K_SINK="+config.Sink,
		"SERVICEFUL_URL="+config.URL, "SERVICEFUL_TOKEN_FILE="+config.TokenFile)
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil || t.Failed() {
			t.Errorf("main.py ended: %v\n%s", err, log.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	return proxy
}
