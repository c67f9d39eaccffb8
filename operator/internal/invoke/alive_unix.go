//go:build unix

package invoke

import (
	"net"
	"syscall"
)

// pulse looks at a connection that nobody uses. It is made once for each
// connection, so that a look allocates nothing.
type pulse struct {
	raw  syscall.RawConn
	look func(fd uintptr) bool
	open bool
	one  [1]byte
}

// newPulse is the pulse of a connection, nil for one that cannot be looked at.
func newPulse(c net.Conn) *pulse {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	p := &pulse{raw: raw}
	p.look = func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), p.one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.open = n <= 0 && (err == syscall.EAGAIN || err == syscall.EWOULDBLOCK)
		return true
	}
	return p
}

// alive reports whether the other side has kept the connection open and silent,
// by one look that does not wait.
func (p *pulse) alive() bool {
	return p == nil || p.raw.Read(p.look) == nil && p.open
}
