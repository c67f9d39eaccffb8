package serviceful_test

import (
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

func TestServeFinishesTheRunningCall(t *testing.T) {
	port := freePort(t)
	t.Setenv("PORT", port)
	inCall, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- serviceful.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/ready" {
				return
			}
			close(inCall)
			for range time.Tick(time.Millisecond) { // until the port is closed: the shutdown has begun
				conn, err := net.Dial("tcp", "127.0.0.1:"+port)
				if err != nil {
					return
				}
				conn.Close()
			}
		}))
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		resp, err := http.Get("http://127.0.0.1:" + port + "/ready")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}

	status := make(chan int, 1)
	go func() {
		resp, err := http.Get("http://127.0.0.1:" + port + "/call")
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-inCall
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := <-status; got != http.StatusOK {
		t.Errorf("the running call ended with %d, want 200", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeNeedsAPortOfItsOwn(t *testing.T) {
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for _, port := range []string{"", port} {
		t.Setenv("PORT", port)
		if err := serviceful.Serve(http.NotFoundHandler()); err == nil {
			t.Errorf("served on port %q", port)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
