package process

import (
	"errors"
	"math/rand/v2"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// Functions listen below the range from which loopback clients take their own
// ports, which under load would take a function's port away.
const (
	lowestPort  = 20000
	highestPort = 31999
)

// fork starts children, all from one thread: on Linux a child dies with the
// thread that started it, so this one lives until the last child has ended.
func (p *Processes) fork() {
	runtime.LockOSThread()
	for start := range p.forks {
		start()
	}
}

func (p *Processes) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	p.forks <- func() { done <- cmd.Start() }
	return <-done
}

// reservePort claims a port that nobody listens on, until forget gives it back.
func (p *Processes) reservePort() (int, error) {
	for range 1000 {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if !p.claim(port) {
			continue
		}
		if portFree(port) {
			return port, nil
		}
		p.mu.Lock()
		delete(p.ports, port)
		p.mu.Unlock()
	}
	return 0, errors.New("finding a free port between 20000 and 31999: all that were tried are taken")
}

func (p *Processes) claim(port int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ports[port] {
		return false
	}
	p.ports[port] = true
	return true
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// inherited is the part of the parent's environment that functions get: not the
// names that a function's contract defines.
func inherited(environ []string) []string {
	var kept []string
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if name != "PORT" && name != "PWD" && !strings.HasPrefix(name, "K_") && !strings.HasPrefix(name, "SERVICEFUL_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// environment is inherited, then the manifest's, then the contract's; the later
// of two equal names counts.
func (p *Processes) environment(i *instance) []string {
	env := make([]string, 0, len(p.environ)+len(i.program.Env)+7)
	env = append(env, p.environ...)
	env = append(env, "PWD="+i.program.Dir)
	env = append(env, i.program.Env...)
	return append(env,
		"PORT="+strconv.Itoa(i.port),
		"K_SERVICE="+i.function.name.Name,
		"K_REVISION="+i.program.Revision,
		"K_SINK="+p.config.ServicesURL+"/v1/events",
		"SERVICEFUL_URL="+p.config.ServicesURL,
		tokenVariable+i.files.token,
	)
}
