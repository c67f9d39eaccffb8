package invoke

import (
	"fmt"
	"strings"

	"github.com/serviceful/serviceful/operator/internal/names"
)

// Lease is the right to make one call to one ready instance of a function.
// Release must be called once, when the call has ended; until then the instance
// is neither stopped as idle nor counted as free.
type Lease struct {
	Address string // "host:port" that accepts plain HTTP/1.1
	Release func()
}

// StartReason says why a function could not be brought to a ready instance.
type StartReason string

const (
	// Exited: the process ended before it listened on its port.
	Exited StartReason = "Exited"
	// NeverListened: the process runs, but nothing accepted on its port within
	// the time a start may take.
	NeverListened StartReason = "NeverListened"
	// NotBuilt: there is nothing to start, because the build failed.
	NotBuilt StartReason = "NotBuilt"
	// Unknown: no function of that name is in this world.
	Unknown StartReason = "Unknown"
)

// StartError is returned by a world's Acquire when the function has no ready
// instance and could not be given one. The function has not been called.
type StartError struct {
	Function names.Function
	Reason   StartReason
	Detail   string   // one sentence for a person: the exit status, the time waited, the build's first error
	Lines    []string // the last lines the process wrote, at most 20
}

func (e *StartError) Error() string {
	s := fmt.Sprintf("function %s did not start: %s", e.Function, e.Detail)
	if len(e.Lines) > 0 {
		s += "; its last lines:\n  " + strings.Join(e.Lines, "\n  ")
	}
	return s
}
