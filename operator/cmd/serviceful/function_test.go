package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// functionMain is every function of the scripts: what it does is up to its first
// argument at its start, and to the path of a request later.
func functionMain() {
	mode := "serve"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	switch mode {
	case "serve":
		serveFunction()
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot reach the till")
		os.Exit(3)
	case "deaf":
		time.Sleep(time.Hour)
	case "garbage":
		answerGarbage()
	default:
		log.Fatalf("no such mode: %s", mode)
	}
}

func serveFunction() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", echo)
	mux.HandleFunc("/status/{status}", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status"))
		w.WriteHeader(status)
	})
	mux.HandleFunc("/if/{file}", func(w http.ResponseWriter, r *http.Request) {
		if !workFile(r.PathValue("file")) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		echo(w, r)
	})
	mux.HandleFunc("/wait/{file}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("waiting for", r.PathValue("file"))
		for !workFile(r.PathValue("file")) && r.Context().Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		echo(w, r)
	})
	mux.HandleFunc("/batch", answerBatch)
	mux.HandleFunc("/answer/{type}", answerEvent)
	mux.HandleFunc("/services/", callServices)
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended // the platform says so when no call is left
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

// workFile reports whether the script has made a file of that name.
func workFile(name string) bool {
	_, err := os.Stat(filepath.Join(os.Getenv("WORK"), name))
	return err == nil
}

// echo says, in a line of its output and in its answer, what it was called with.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	what := fmt.Sprintf("%s %s trigger=%s attempt=%s event=%s body=%.100s", r.Method, r.URL.Path,
		r.Header.Get("Serviceful-Trigger"), r.Header.Get("Serviceful-Attempt"), r.Header.Get("Ce-Type"), body)
	fmt.Println(what)
	fmt.Fprintln(w, os.Getenv("K_REVISION"), what)
}

// answerBatch says what it was called with. Events whose id begins with "bad" have
// failed, and one that is called "poison" ends the process.
func answerBatch(w http.ResponseWriter, r *http.Request) {
	var events []struct{ ID string }
	if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var ids []string
	failures := []map[string]string{}
	for _, e := range events {
		ids = append(ids, e.ID)
		if strings.HasPrefix(e.ID, "bad") {
			failures = append(failures, map[string]string{"itemIdentifier": e.ID})
		}
	}
	fmt.Printf("batch trigger=%s attempt=%s ids=%s\n", r.Header.Get("Serviceful-Trigger"), r.Header.Get("Serviceful-Attempt"), strings.Join(ids, ","))
	if slices.Contains(ids, "poison") {
		os.Exit(1)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"batchItemFailures": failures})
}

// answerEvent answers an event with another one of the type in its path.
func answerEvent(w http.ResponseWriter, r *http.Request) {
	for name, value := range map[string]string{"specversion": "1.0", "id": r.Header.Get("Ce-Id") + ".", "source": "/answers", "type": r.PathValue("type")} {
		w.Header().Set("Ce-"+name, value)
	}
}

// callServices passes a request on to the services door, with this function's
// token: /services/v1/... is $SERVICEFUL_URL/v1/... A header Pass-Serviceful-TTL is
// passed on as Serviceful-TTL, which the public door would drop.
func callServices(w http.ResponseWriter, r *http.Request) {
	token, err := os.ReadFile(os.Getenv("SERVICEFUL_TOKEN_FILE"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	proxy := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host = "http", strings.TrimPrefix(os.Getenv("SERVICEFUL_URL"), "http://")
		p.Out.URL.Path = strings.TrimPrefix(p.In.URL.Path, "/services")
		p.Out.Header.Set("Authorization", "Bearer "+string(token))
		for name, values := range p.In.Header {
			if passed, ok := strings.CutPrefix(name, "Pass-"); ok {
				p.Out.Header[passed] = values
			}
		}
	}}
	proxy.ServeHTTP(w, r)
}

// answerGarbage listens, and does not speak HTTP.
func answerGarbage() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			_, _ = c.Read(make([]byte, 1<<10))
			_, _ = io.WriteString(c, "220 mail.example.com ESMTP\r\n")
			_ = c.Close()
		}()
	}
}
