package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// longestLine is where a line is cut; the rest of it is dropped.
	longestLine = 64 << 10
	// tailLines and tailWidth bound what is kept of a process's output, for the
	// answer to whoever called it in vain.
	tailLines = 20
	tailWidth = 1 << 10
)

// palette holds the colours of functions, in the order in which they are met:
// cyan, yellow, green, magenta, blue, and their bright sisters.
var palette = []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}

// label is how one function's lines begin.
type label struct {
	name  string
	color string // an SGR code
}

// sink writes the lines of all functions, each whole.
type sink struct {
	color bool

	mu     sync.Mutex
	out    io.Writer
	width  int // of the longest name
	labels int
	line   []byte
}

// label makes room for name and gives it the next colour.
func (s *sink) label(name string) label {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.width = max(s.width, len(name))
	l := label{name: name, color: palette[s.labels%len(palette)]}
	s.labels++
	return l
}

func (s *sink) write(l label, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = s.line[:0]
	if s.color {
		s.line = fmt.Appendf(s.line, "\x1b[%sm%-*s |\x1b[0m ", l.color, s.width, l.name)
	} else {
		s.line = fmt.Appendf(s.line, "%-*s | ", s.width, l.name)
	}
	s.line = append(append(s.line, text...), '\n')
	_, _ = s.out.Write(s.line) // a terminal that has gone must not end a function
	if cap(s.line) > longestLine {
		s.line = nil
	}
}

// output is the two pipes of one process.
type output struct {
	stdout, stderr *os.File // the process's ends, until it has started
	readers        []*os.File
	tail           tail
	done           sync.WaitGroup
}

func openOutput(s *sink, l label) (*output, error) {
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe: %w", err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening a pipe: %w", err), outR.Close(), outW.Close())
	}
	o := &output{stdout: outW, stderr: errW, readers: []*os.File{outR, errR}}
	for _, r := range o.readers {
		o.done.Go(func() { o.copy(s, l, r) })
	}
	return o, nil
}

// started closes the process's ends here, so that reading ends when it does.
func (o *output) started() {
	_ = o.stdout.Close()
	_ = o.stderr.Close()
}

// finish reads what is left, for at most limit: a process that left its group
// may keep the pipes open.
func (o *output) finish(limit time.Duration) {
	for _, r := range o.readers {
		_ = r.SetReadDeadline(time.Now().Add(limit))
	}
	o.done.Wait()
}

// copy writes whole lines until r ends. A line of longestLine bytes or more is cut.
func (o *output) copy(s *sink, l label, r *os.File) {
	defer r.Close()
	lines := bufio.NewReaderSize(r, longestLine)
	for cut := false; ; {
		line, err := lines.ReadSlice('\n')
		if !cut && len(line) > 0 {
			text := bytes.TrimRight(line, "\r\n")
			s.write(l, text)
			o.tail.add(text)
		}
		cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !cut {
			return
		}
	}
}

// tail is the last lines of a process.
type tail struct {
	mu    sync.Mutex
	lines [tailLines]string
	count int
}

func (t *tail) add(line []byte) {
	text := strings.ToValidUTF8(string(line[:min(len(line), tailWidth)]), "")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[t.count%tailLines] = text
	t.count++
}

// last returns the kept lines, the oldest first.
func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for n := max(0, t.count-tailLines); n < t.count; n++ {
		lines = append(lines, t.lines[n%tailLines])
	}
	return lines
}
