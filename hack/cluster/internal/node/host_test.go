package node

import (
	"slices"
	"testing"
)

// TestTraces tells what a cluster left from what is another's.
func TestTraces(t *testing.T) {
	n := Node{State: "/var/lib/serviceful-cluster"}
	text := `proc /var/lib/serviceful-cluster/root/proc proc rw 0 0
tmpfs /var/lib/serviceful-cluster tmpfs rw 0 0
tmpfs /var/lib/serviceful-cluster-2 tmpfs rw 0 0
5: serviceful0: <BROADCAST,MULTICAST> mtu 1500
5: serviceful0@if2: <BROADCAST,MULTICAST> mtu 1500
6: serviceful01: <BROADCAST,MULTICAST> mtu 1500
default via 192.0.2.1 dev eth0
198.18.0.0/30 dev eth1 proto kernel scope link
198.18.128.0/17 via 192.0.2.1
198.19.0.0/16 dev serviceful0
198.18.0.0/15 dev eth1
198.18.64.0/24 dev eth1 src 198.18.64.1
1198.18.0.1 dev eth1
fd00::198:18 dev eth1
-A POSTROUTING -s 198.18.128.0/24 -j MASQUERADE
-A OUTPUT -d 198.19.0.10/32 -j DNAT
-A OUTPUT -d 10.0.0.1/32 -j DNAT --to-destination 198.18.130.7:8080
-A OUTPUT -d 198.18.64.9/32 -j DROP
`
	want := []string{
		"x proc /var/lib/serviceful-cluster/root/proc proc rw 0 0",
		"x tmpfs /var/lib/serviceful-cluster tmpfs rw 0 0",
		"x 5: serviceful0: <BROADCAST,MULTICAST> mtu 1500",
		"x 5: serviceful0@if2: <BROADCAST,MULTICAST> mtu 1500",
		"x 198.18.0.0/30 dev eth1 proto kernel scope link",
		"x 198.18.128.0/17 via 192.0.2.1",
		"x 198.19.0.0/16 dev serviceful0",
		"x -A POSTROUTING -s 198.18.128.0/24 -j MASQUERADE",
		"x -A OUTPUT -d 198.19.0.10/32 -j DNAT",
		"x -A OUTPUT -d 10.0.0.1/32 -j DNAT --to-destination 198.18.130.7:8080",
	}
	if got := n.traces("x", text); !slices.Equal(got, want) {
		t.Errorf("traces are %q, want %q", got, want)
	}
}
