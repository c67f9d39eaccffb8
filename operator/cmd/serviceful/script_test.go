package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptDeadline bounds what a script waits for.
const scriptDeadline = time.Minute

// The test binary is the program itself, and the functions of the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"serviceful": func() { os.Exit(run(os.Args[1:])) },
		"function":   functionMain,
	})
}

// TestScripts runs testdata/script: each script is one thing that a user meets.
// Beside testscript's own commands a script has
//
//	start ARG...            starts `serviceful dev ARG...` on free ports and waits until it is ready; sets $LISTEN
//	                        (host:port of the public door), $URL and $SERVICES (base URLs of the doors); its output is in dev.log
//	end [TERM]              ends it (by SIGINT), and wants a clean end with no function's process left
//	end KILL, end NOW       ends it by SIGKILL, or by interrupting it again and again
//	gone                    waits until no function's process is left
//	logged [-count=N] RE    waits until dev.log has lines that match
//	http [FLAG]... METHOD URL STATUS RE...
//	                        sends a request, and wants this status (an expression, too) and a match of each RE in the answer's head or body
//	                        -d BODY, -f FILE, -H HEADER; -as NAME keeps its Location in $NAME
//	eventually http ...     the same, again and again until it is so
//	eventually exists FILE  waits until there is a file
//	delivered               waits until all calls that ever got a 202 have succeeded
//	captured NAME RE        keeps in $NAME what the RE's group matches in what was last written to the error output
//	fill FILE               writes into FILE until the disk is full
func TestScripts(t *testing.T) {
	testscript.Run(t, scriptParams(filepath.Join("testdata", "script")))
}

func scriptParams(dir string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		Setup:               setupScript,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":      inScript(startProgram),
			"end":        inScript(endProgram),
			"logged":     inScript(logged),
			"http":       inScript(request),
			"eventually": inScript(eventually),
			"delivered":  inScript(delivered),
			"gone":       inScript(gone),
			"fill":       inScript(fill),
			"captured":   inScript(captured),
		},
	}
}

// script is what the commands of one script share.
type script struct {
	*testscript.TestScript
	env      []string
	client   *http.Client
	program  *program // nil while none runs
	accepted []string // the calls that got a 202: paths
}

type scriptKey struct{}

// setupScript makes this repository's root $REPOSITORY, and keeps from the
// environment what the go command needs.
func setupScript(e *testscript.Env) error {
	root, err := filepath.Abs(repository)
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	e.Setenv("REPOSITORY", root)
	goEnv, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	if err != nil {
		return fmt.Errorf("asking go for its folders: %w", err)
	}
	for i, folder := range strings.Fields(string(goEnv)) {
		e.Setenv([]string{"GOCACHE", "GOMODCACHE", "GOPATH"}[i], folder)
	}
	e.Setenv("GOPROXY", "off")
	if e.Getenv("GORACE") == "" {
		e.Setenv("GORACE", "atexit_sleep_ms=10") // not a second for every process
	}
	s := &script{env: e.Vars, client: &http.Client{
		Timeout:       scriptDeadline,
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	e.Values[scriptKey{}] = s
	e.Defer(func() { s.cleanUp(e) })
	return nil
}

// cleanUp ends what a script left running, and shows its output when the script
// failed.
func (s *script) cleanUp(e *testscript.Env) {
	s.client.CloseIdleConnections()
	if s.program != nil {
		_ = s.program.process.Kill()
		<-s.program.ended
	}
	if t, ok := e.T().(interface{ Failed() bool }); ok && t.Failed() {
		log, _ := os.ReadFile(filepath.Join(e.WorkDir, "dev.log"))
		e.T().Log("dev.log:\n" + string(log[max(0, len(log)-8000):]))
	}
}

// inScript makes a command of a function. None of them can be negated: a script
// says what it wants.
func inScript(f func(*script, []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s := ts.Value(scriptKey{}).(*script)
		s.TestScript = ts
		if neg {
			ts.Fatalf("this command has no negation")
		}
		ts.Check(f(s, args))
	}
}

func eventually(s *script, args []string) error {
	switch {
	case len(args) > 1 && args[0] == "http":
		return poll(func() error { return request(s, args[1:]) })
	case len(args) == 2 && args[0] == "exists":
		return poll(func() error {
			_, err := os.Stat(s.MkAbs(args[1]))
			return err
		})
	}
	return errors.New("usage: eventually http ..., eventually exists FILE")
}

func captured(s *script, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: captured NAME RE")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		return err
	}
	text := s.ReadFile("stderr")
	found := re.FindStringSubmatch(text)
	if len(found) != 2 {
		return fmt.Errorf("no match of %s, or no group, in:\n%s", re, text)
	}
	s.Setenv(args[0], found[1])
	return nil
}

// poll tries until it succeeds, and gives the last error when the time is up.
func poll(try func() error) error {
	for deadline := time.Now().Add(scriptDeadline); ; time.Sleep(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: %w", scriptDeadline, err)
		}
	}
}
