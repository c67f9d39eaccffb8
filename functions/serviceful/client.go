// Package serviceful is the small, optional Go client of the services that the platform offers to a function: events, key-value
// buckets, objects, queues, calls and mail, and the few lines of net/http that functions written in Go have in common.
//
// It owns the wire format as a function sees it. It never knows what a function does, holds no state between calls and never
// repeats a call by itself: an error goes back to the caller, whose answer makes the platform deliver again. It imports the
// standard library only; a function in any language can do the same with its own HTTP client.
package serviceful

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	callTimeout = 10 * time.Second // one call to the services, from connecting to the last byte
	idlePerHost = 64               // connections kept open to the services
	maxAnswer   = 8 << 20          // bytes read of an answer: no stored value is larger
)

// Config says where the services are. All three fields are required.
type Config struct {
	URL       string // base of the services, without a trailing slash
	Sink      string // where events are POSTed
	TokenFile string // holds the bearer token that says which function is calling
}

// Client calls the services on behalf of one function. It is safe for concurrent use.
type Client struct {
	config Config
	http   *http.Client
}

// FromEnv returns the client for the environment that the platform gives to every function: SERVICEFUL_URL, K_SINK and
// SERVICEFUL_TOKEN_FILE.
func FromEnv() (*Client, error) {
	return New(Config{
		URL:       strings.TrimSuffix(os.Getenv("SERVICEFUL_URL"), "/"),
		Sink:      os.Getenv("K_SINK"),
		TokenFile: os.Getenv("SERVICEFUL_TOKEN_FILE"),
	})
}

// New returns a client of the services that config names. A call takes at most 10 seconds, but for objects and calls of
// functions, which take what their context gives them. Nothing is contacted yet.
func New(config Config) (*Client, error) {
	if config.URL == "" || config.Sink == "" || config.TokenFile == "" {
		return nil, errors.New("SERVICEFUL_URL, K_SINK and SERVICEFUL_TOKEN_FILE must all be set")
	}
	return &Client{
		config: config,
		http: &http.Client{
			Transport:     &http.Transport{MaxIdleConns: 2 * idlePerHost, MaxIdleConnsPerHost: idlePerHost, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// call makes one request with the token and returns the header and body of a 2xx answer; any other answer is a *ServiceError.
func (c *Client) call(ctx context.Context, method, target string, header http.Header, body []byte) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.stream(ctx, method, target, header, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the services' answer: %w", err)
	}
	return resp.Header, answer, nil
}

// stream is call without a limit of time or size. The answer's body is the caller's to close.
func (c *Client) stream(ctx context.Context, method, target string, header http.Header, body io.Reader) (*http.Response, error) {
	resp, err := c.send(ctx, method, target, header, body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp, nil
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the services' answer: %w", err)
	}
	return nil, newServiceError(resp, answer)
}

// send makes one request with the token.
func (c *Client) send(ctx context.Context, method, target string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	// Read for every call: the platform replaces the file's content before a token expires.
	token, err := os.ReadFile(c.config.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	if header != nil {
		req.Header = header
	}
	passOn(ctx, req.Header)
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))

	resp, err := c.http.Do(req)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // without the URL, which may hold a key
		}
		return nil, fmt.Errorf("calling the services: %w", err)
	}
	return resp, nil
}
