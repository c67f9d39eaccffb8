package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// tokenVariable begins the variable that also proves a leftover process ours.
const tokenVariable = "SERVICEFUL_TOKEN_FILE="

// runFiles are the files of one process. They carry its port, because an old and
// a new process of one function may run at once.
type runFiles struct {
	token string // what SERVICEFUL_TOKEN_FILE names
	pid   string // read by a later run after this one was killed
}

func (p *Processes) runFiles(fn names.Function, port int) runFiles {
	base := filepath.Join(p.runDir, fn.Namespace+"."+fn.Name, strconv.Itoa(port))
	return runFiles{token: base + ".token", pid: base + ".pid"}
}

// writeToken stores the token for this user's eyes only.
func (r runFiles) writeToken(token string) error {
	if err := os.MkdirAll(filepath.Dir(r.token), 0o700); err != nil {
		return fmt.Errorf("making the run folder: %w", err)
	}
	if err := os.WriteFile(r.token, []byte(token), 0o600); err != nil {
		return fmt.Errorf("writing the token file: %w", err)
	}
	return nil
}

func (r runFiles) writePID(pid int) error {
	return os.WriteFile(r.pid, []byte(strconv.Itoa(pid)), 0o600)
}

func (r runFiles) remove() error {
	var failed error
	for _, file := range []string{r.token, r.pid} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// clearLeftovers kills the process groups that an earlier run left, as far as
// they are provably its own, and removes its run folder.
func (p *Processes) clearLeftovers() error {
	files, err := filepath.Glob(filepath.Join(p.runDir, "*", "*.pid"))
	if err != nil {
		return fmt.Errorf("listing leftover processes: %w", err)
	}
	tokens := map[int]string{} // by process group
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading a leftover process id: %w", err)
		}
		if pid, err := strconv.Atoi(string(text)); err == nil && pid > 1 {
			tokens[pid] = strings.TrimSuffix(file, ".pid") + ".token"
		}
	}
	if len(tokens) > 0 {
		p.killLeftovers(tokens)
	}
	if err := os.RemoveAll(p.runDir); err != nil {
		return fmt.Errorf("removing leftover run files: %w", err)
	}
	return nil
}
