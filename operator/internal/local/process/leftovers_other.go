//go:build !linux

package process

// killLeftovers kills nothing: there is no proof here that a process is ours.
func (p *Processes) killLeftovers(tokens map[int]string) {
	for pid := range tokens {
		p.config.Logger.Warn("an earlier run was killed; its process may still run", "pid", pid)
	}
}
