package node

import (
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

var prober = &http.Client{
	Timeout: 3 * time.Second,
	// Whether a component is well is no secret, and nobody else has its address.
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
}

// healthy asks the component; root is the node's root folder as seen from here.
func (c component) healthy(root string) bool {
	if !strings.Contains(c.health, "://") {
		conn, err := net.DialTimeout("unix", filepath.Join(root, c.health), prober.Timeout)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
	resp, err := prober.Get(c.health)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Health is how one component is.
type Health struct {
	Name string
	OK   bool
}

// Health asks every component of a running node.
func (n Node) Health() []Health {
	components := n.components()
	all := make([]Health, len(components))
	for i, c := range components {
		all[i] = Health{Name: c.name, OK: c.healthy(n.Root())}
	}
	return all
}
