package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strconv"
	"strings"
)

// wanted is what the http command was asked for.
type wanted struct {
	body, file string
	headers    []string
	as         string
	method     string
	url        string
	status     *regexp.Regexp
	matches    []*regexp.Regexp
}

func parseWanted(args []string) (w wanted, err error) {
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&w.body, "d", "", "body")
	flags.StringVar(&w.file, "f", "", "file with the body")
	flags.StringVar(&w.as, "as", "", "variable for the Location")
	flags.Func("H", "header", func(h string) error { w.headers = append(w.headers, h); return nil })
	if err := flags.Parse(args); err != nil {
		return w, err
	}
	if flags.NArg() < 3 {
		return w, errors.New("usage: http [FLAG]... METHOD URL STATUS [RE]")
	}
	w.method, w.url = flags.Arg(0), flags.Arg(1)
	if w.status, err = regexp.Compile("^(" + flags.Arg(2) + ")$"); err != nil {
		return w, err
	}
	for _, expression := range flags.Args()[3:] {
		re, err := regexp.Compile("(?m)" + expression)
		if err != nil {
			return w, err
		}
		w.matches = append(w.matches, re)
	}
	return w, nil
}

func request(s *script, args []string) error {
	w, err := parseWanted(args)
	if err != nil {
		return err
	}
	body := []byte(w.body)
	if w.file != "" {
		body = []byte(s.ReadFile(w.file))
	}
	req, err := http.NewRequest(w.method, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, header := range w.headers {
		key, value, _ := strings.Cut(header, ":")
		req.Header.Add(key, strings.TrimSpace(value))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := httputil.DumpResponse(resp, true)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusAccepted && resp.Header.Get("Location") != "" {
		s.accepted = append(s.accepted, resp.Header.Get("Location"))
	}
	if !w.status.MatchString(strconv.Itoa(resp.StatusCode)) {
		return fmt.Errorf("status %d, want %s:\n%s", resp.StatusCode, w.status, answer)
	}
	text := strings.ReplaceAll(string(answer), "\r\n", "\n")
	for _, re := range w.matches {
		if !re.MatchString(text) {
			return fmt.Errorf("no match of %s in:\n%s", re, text)
		}
	}
	if w.as != "" {
		s.Setenv(w.as, resp.Header.Get("Location"))
	}
	return nil
}

// delivered waits until every call that the script ever got a 202 for has
// succeeded.
func delivered(s *script, args []string) error {
	if len(args) != 0 || len(s.accepted) == 0 {
		return errors.New("usage: delivered, after calls were accepted")
	}
	for _, call := range s.accepted {
		if err := poll(func() error {
			return request(s, []string{"GET", s.Getenv("URL") + call, "200", `"state":"succeeded"`})
		}); err != nil {
			return err
		}
	}
	return nil
}
