// Command stub is the function of the end-to-end tests. It tells a recorder, by
// HTTP, of everything that it handles before it answers, so that a test knows
// what arrived, and how often, whatever was killed meanwhile.
//
// It takes what it is from its environment: VERSION, which GET /version answers,
// and RECORDER, the recorder's URL.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/serviceful/serviceful/functions/serviceful"
)

func main() {
	if err := run(); err != nil {
		slog.Error("function ended", "function", "stub", "error", err)
		os.Exit(1)
	}
}

func run() error {
	services, err := serviceful.FromEnv()
	if err != nil {
		return err
	}
	s := &stub{
		version: os.Getenv("VERSION"), recorder: os.Getenv("RECORDER"), http: &http.Client{Timeout: 10 * time.Second},
		services: services, bucket: services.Bucket("shared"),
	}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"/version":                     s.answerVersion,
		"POST /work/{id}":              s.work,
		"POST /doomed/{id}":            s.fail,
		"POST /publish/{id}":           s.publish,
		"POST /events":                 s.event,
		"GET /{function}/values/{key}": s.get,
		"PUT /{function}/values/{key}": s.put,
	} {
		mux.Handle(pattern, serviceful.Handle(handle))
	}
	return serviceful.Serve(mux)
}

type stub struct {
	version, recorder string
	http              *http.Client
	services          *serviceful.Client
	bucket            *serviceful.Bucket
}

// record tells the recorder that an id was handled, and by which trigger.
func (s *stub) record(r *http.Request, id string) error {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, s.recorder+"/"+r.Header.Get("Serviceful-Trigger")+"/"+id, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("telling the recorder: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the recorder answered %s", resp.Status)
	}
	return nil
}

// answerVersion answers at once, or after the duration that the query names.
func (s *stub) answerVersion(w http.ResponseWriter, r *http.Request) error {
	if after := r.URL.Query().Get("after"); after != "" {
		pause, err := time.ParseDuration(after)
		if err != nil {
			return serviceful.NewProblem(http.StatusBadRequest, "%v", err)
		}
		time.Sleep(pause)
	}
	_, err := io.WriteString(w, s.version)
	return err
}

func (s *stub) work(_ http.ResponseWriter, r *http.Request) error {
	return s.record(r, r.PathValue("id"))
}

// fail is for calls that are to die.
func (s *stub) fail(_ http.ResponseWriter, r *http.Request) error {
	if err := s.record(r, r.PathValue("id")); err != nil {
		return err
	}
	return serviceful.NewProblem(http.StatusInternalServerError, "it always fails")
}

// publish publishes an event of that id, of the type that the query names and
// with the body as its data, and answers 202 when it is stored.
func (s *stub) publish(w http.ResponseWriter, r *http.Request) error {
	var data any
	if err := serviceful.ReadJSON(r, &data); err != nil {
		return err
	}
	err := s.services.Publish(r.Context(), serviceful.Event{ID: r.PathValue("id"), Source: "/stub", Type: r.URL.Query().Get("type"), Data: data})
	if err == nil {
		w.WriteHeader(http.StatusAccepted)
	}
	return err
}

func (s *stub) event(w http.ResponseWriter, r *http.Request) error {
	if err := s.record(r, r.Header.Get("Ce-Id")); err != nil {
		return err
	}
	return serviceful.Answer(w)
}

func (s *stub) get(w http.ResponseWriter, r *http.Request) error {
	var value json.RawMessage
	if _, err := s.bucket.Get(r.Context(), r.PathValue("key"), &value); err != nil {
		return asIs(err)
	}
	_, err := w.Write(value)
	return err
}

func (s *stub) put(_ http.ResponseWriter, r *http.Request) error {
	var value json.RawMessage
	if err := serviceful.ReadJSON(r, &value); err != nil {
		return err
	}
	_, err := s.bucket.Put(r.Context(), r.PathValue("key"), value)
	return asIs(err)
}

// asIs answers with the status of the services.
func asIs(err error) error {
	if refused, ok := errors.AsType[*serviceful.ServiceError](err); ok {
		return serviceful.NewProblem(refused.Problem.Status, "%s", refused.Problem.Detail)
	}
	return err
}
