package process

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// killLeftovers kills each process group in which a process has that group's
// token file in its environment. A process id that somebody else has by now is
// left alone, and a group is found even when its first process has ended.
func (p *Processes) killLeftovers(tokens map[int]string) {
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		group, err := syscall.Getpgid(pid)
		if err != nil {
			continue // it ended meanwhile
		}
		token, leftover := tokens[group]
		if !leftover {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(folder, "environ"))
		if err != nil || !slices.Contains(strings.Split(string(environ), "\x00"), tokenVariable+token) {
			continue
		}
		p.config.Logger.Warn("killing a process that an earlier run left", "pid", group)
		_ = syscall.Kill(-group, syscall.SIGKILL) // fails only when the group ended meanwhile
		delete(tokens, group)
	}
}
