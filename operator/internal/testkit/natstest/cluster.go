package natstest

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/serviceful/serviceful/operator/internal/bus"
	"github.com/serviceful/serviceful/operator/internal/testkit/loopback"
)

// Cluster is servers that know each other, on this machine's loopback and on
// disk.
type Cluster struct {
	tb      testing.TB
	dir     string
	routes  []*url.URL
	servers []*server.Server // nil: it is down
}

// startTimeout bounds the wait for a server, and for the servers to agree.
const startTimeout = time.Minute

// StartCluster starts servers that end with the test.
func StartCluster(tb testing.TB, size int) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb, dir: tb.TempDir(), servers: make([]*server.Server, size)}
	for range size {
		c.routes = append(c.routes, &url.URL{Scheme: "nats", Host: loopback.Address(tb)})
	}
	tb.Cleanup(func() {
		for i := range c.servers {
			c.Stop(i)
		}
	})
	for i := range size {
		c.Start(i)
	}
	c.Settled()
	return c
}

// Start starts server i.
func (c *Cluster) Start(i int) {
	c.tb.Helper()
	_, port, err := net.SplitHostPort(c.routes[i].Host)
	if err != nil {
		c.tb.Fatal(err)
	}
	o := &server.Options{
		ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: filepath.Join(c.dir, fmt.Sprint(i)), JetStreamMaxStore: 1 << 30, JetStreamMaxMemory: 16 << 20,
		MaxPayload: bus.MaxPayload, JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: 10_000},
		Routes:  c.routes,
		Cluster: server.ClusterOpts{Name: "serviceful", Host: "127.0.0.1"},
	}
	if _, err := fmt.Sscan(port, &o.Cluster.Port); err != nil {
		c.tb.Fatal(err)
	}
	s, err := server.NewServer(o)
	if err != nil {
		c.tb.Fatal(err)
	}
	s.Start()
	c.servers[i] = s
	if !s.ReadyForConnections(startTimeout) {
		c.tb.Fatalf("server %d is not ready", i)
	}
}

// Settled waits until the servers that run have a leader, and each stream and
// consumer is on as many of them as it should be: one that is still on its way to
// a second server is gone with the first.
func (c *Cluster) Settled() {
	c.tb.Helper()
	var missing string
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if missing = c.missing(); missing == "" {
			return
		}
	}
	c.tb.Fatalf("the servers do not agree: %s", missing)
}

// missing is what the servers that run have not done yet, "" for nothing.
func (c *Cluster) missing() string {
	led := false
	for _, s := range c.servers {
		if s == nil {
			continue
		}
		led = led || s.JetStreamIsLeader()
		if err := s.Healthz(nil).Error; err != "" {
			return err
		}
		js, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true, Config: true})
		if err != nil {
			return err.Error()
		}
		for _, account := range js.AccountDetails {
			for _, stream := range account.Streams {
				if !spread(stream.Cluster, stream.Config.Replicas, s.Name()) {
					return fmt.Sprintf("stream %s is not on %d servers", stream.Name, stream.Config.Replicas)
				}
				for _, consumer := range stream.Consumer {
					if !spread(consumer.Cluster, stream.Config.Replicas, s.Name()) {
						return fmt.Sprintf("consumer %s is not on %d servers", consumer.Name, stream.Config.Replicas)
					}
				}
			}
		}
	}
	if !led {
		return "there is no leader"
	}
	return ""
}

// spread reports whether something that servers keep is led and, as far as its
// leader knows, on as many as it should be. Only the leader is asked that.
func spread(info *server.ClusterInfo, replicas int, self string) bool {
	if info == nil || info.Leader == "" {
		return false
	}
	if info.Leader != self {
		return true
	}
	current := 1
	for _, peer := range info.Replicas {
		if peer.Current && !peer.Offline {
			current++
		}
	}
	return current == replicas
}

// Stop ends server i. Its files stay.
func (c *Cluster) Stop(i int) {
	if s := c.servers[i]; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		c.servers[i] = nil
	}
}

// Connect is a connection to the servers that run, which finds the others.
func (c *Cluster) Connect() *bus.Bus {
	c.tb.Helper()
	var urls string
	for _, s := range c.servers {
		if s != nil {
			urls += s.ClientURL() + ","
		}
	}
	nc, err := nats.Connect(urls[:len(urls)-1], nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(nc.Close)
	b, err := bus.New(nc)
	if err != nil {
		c.tb.Fatal(err)
	}
	return b
}
