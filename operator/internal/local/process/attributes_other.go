//go:build !linux

package process

import "syscall"

// childAttributes puts a child in a process group of its own, so that signals
// reach its children too.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
