package process

import "syscall"

// childAttributes puts a child in a process group of its own, so that signals
// reach its children too, and ends it if this program is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
