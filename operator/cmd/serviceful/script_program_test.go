package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

var (
	readyLine = regexp.MustCompile(`(?s)serviceful is ready: .*?  calls +http://(\S+)/calls/.*?  mail +(http://\S+)/v1/mail\n.*?\n\n`)
	signals   = map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "NOW": syscall.SIGINT}
)

// program is `serviceful dev` while it runs.
type program struct {
	process *os.Process
	ended   chan error
}

func startProgram(s *script, args []string) error {
	if s.program != nil {
		return errors.New("it runs already")
	}
	log, err := os.Create(s.log())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("serviceful", append([]string{"dev", "--listen=127.0.0.1:0", "--services=127.0.0.1:0"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.MkAbs("."), s.env, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.program = &program{cmd.Process, ended}
	return s.awaitReady()
}

// awaitReady waits until the program prints its addresses, and keeps them.
func (s *script) awaitReady() error {
	var ended error
	err := poll(func() error {
		select {
		case err := <-s.program.ended:
			s.program, ended = nil, fmt.Errorf("it ended: %w", err)
			return nil
		default:
		}
		found := readyLine.FindStringSubmatch(s.logText())
		if found == nil {
			return errors.New("it is not ready")
		}
		s.Setenv("LISTEN", found[1])
		s.Setenv("URL", "http://"+found[1])
		s.Setenv("SERVICES", found[2])
		return nil
	})
	return errors.Join(err, ended)
}

func endProgram(s *script, args []string) error {
	how := "INT"
	if len(args) > 0 {
		how = args[0]
	}
	signal, ok := signals[how]
	if !ok || s.program == nil {
		return errors.New("usage: start ..., then end [TERM|KILL|NOW]")
	}
	p := s.program
	s.program = nil
	s.client.CloseIdleConnections()
	if err := p.process.Signal(signal); err != nil {
		return err
	}
	if how == "NOW" {
		return errors.Join(logged(s, []string{"^stopping: "}), p.interruptAgain())
	}
	err := <-p.ended
	if how == "KILL" {
		return nil
	}
	if left := s.functionProcesses(); len(left) > 0 {
		return errors.Join(err, fmt.Errorf("processes left: %v", left))
	}
	return err
}

// interruptAgain interrupts a program that is stopping, until it gives up.
func (p *program) interruptAgain() error {
	return poll(func() error {
		select {
		case err := <-p.ended:
			if err == nil {
				return errors.New("it stopped in its own time")
			}
			return nil
		default:
			_ = p.process.Signal(syscall.SIGINT)
			return errors.New("it goes on")
		}
	})
}

// gone waits until no function's process is left: the kernel ends those of a
// program that was killed in its own time.
func gone(s *script, _ []string) error {
	return poll(func() error {
		if left := s.functionProcesses(); len(left) > 0 {
			return fmt.Errorf("processes left: %v", left)
		}
		return nil
	})
}

// functionProcesses are those that were given a token below this script's
// folder. On systems without /proc there seem to be none.
func (s *script) functionProcesses() (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(environ), "SERVICEFUL_TOKEN_FILE="+s.Getenv("WORK")+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *script) log() string { return filepath.Join(s.Getenv("WORK"), "dev.log") }

func (s *script) logText() string {
	text, _ := os.ReadFile(s.log())
	return string(text)
}

func logged(s *script, args []string) error {
	count := 1
	if len(args) == 2 {
		n, err := strconv.Atoi(strings.TrimPrefix(args[0], "-count="))
		if err != nil {
			return err
		}
		count, args = n, args[1:]
	}
	if len(args) != 1 {
		return errors.New("usage: logged [-count=N] RE")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return err
	}
	return poll(func() error {
		if n := len(re.FindAllString(s.logText(), -1)); n < count {
			return fmt.Errorf("dev.log has %d matches of %s, want %d", n, re, count)
		}
		return nil
	})
}

// fill takes the room that a disk has left.
func fill(s *script, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: fill FILE")
	}
	f, err := os.Create(s.MkAbs(args[0]))
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("filling the disk: %w", err)
	}
	return nil
}
