// Package node runs the one node of the cluster: on the host it makes the
// namespaces and takes them down, inside of them it is the first process, which
// starts every component. It knows nothing of what is deployed on the node, and
// imports of this module only pki.
package node

import "path/filepath"

// The addresses are from the range set aside for benchmarks (RFC 2544), which
// no real network uses. The host reaches pods and Services by a route over the
// pair of links between it and the node.
const (
	HostAddress    = "198.18.0.1"
	Address        = "198.18.0.2"
	linkRange      = "198.18.0.0/30"
	podRange       = "198.18.128.0/17"
	serviceRange   = "198.19.0.0/16"
	kubernetesIP   = "198.19.0.1"
	DNSAddress     = "198.19.0.10"
	IngressAddress = "198.19.0.80"
	APIServer      = "https://" + Address + ":6443"
	Registry       = Address + ":5000"

	hostLink = "serviceful0"
	nodeLink = "eth0"
	nodeName = "node"
)

// containerdSocket is where containerd listens, inside the node.
const containerdSocket = "/run/containerd/containerd.sock"

// Node is a cluster's node on this machine.
type Node struct {
	State    string // all that one cluster keeps, and loses at its end
	Images   string // where the registry keeps images, also when the cluster is gone
	Programs string // the folder with every program; needed only to start
	Pause    string // the image that holds a pod's namespaces; needed only to start
}

// Kubeconfig is how an administrator reaches the API server from the host.
func (n Node) Kubeconfig() string { return n.in("kubeconfig") }

// Logs is the folder with one file for each component, and one folder for each
// container under pods.
func (n Node) Logs() string { return n.in("logs") }

func (n Node) in(path ...string) string {
	return filepath.Join(append([]string{n.State}, path...)...)
}
