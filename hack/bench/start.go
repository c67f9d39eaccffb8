package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func startAndMemory(ctx context.Context, w *workshop) ([]result, error) {
	d, err := w.start(ctx, "functions") // builds them
	if err != nil {
		return nil, err
	}
	d.stop()
	var (
		took []time.Duration
		rss  float64
	)
	for n := range turns {
		if d, err = w.start(ctx, "functions"); err != nil {
			return nil, err
		}
		took = append(took, d.took)
		if n == turns-1 {
			rss, err = idleMemory(ctx, d)
		}
		d.stop()
		if err != nil {
			return nil, err
		}
	}
	return []result{
		{what: "start", ours: inMillis(median(took)), value: millis(median(took)), unit: "ms", target: 1500},
		{what: "memory", ours: fmt.Sprintf("%.3g MB", rss), value: rss, unit: "MB", target: 90},
	}, nil
}

// idleMemory is the resident memory of serviceful dev once it sat idle for a
// while, in MB.
func idleMemory(ctx context.Context, d *dev) (float64, error) {
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of serviceful dev: %w", err)
	}
	return residentMemory(string(status))
}

var vmRSS, vmHWM = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`), regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// residentMemory is what a process's status says, in MB of 10^6 bytes.
func residentMemory(status string) (float64, error) { return memory(status, vmRSS) }

// peakMemory is the most resident memory that the process has had.
func peakMemory(status string) (float64, error) { return memory(status, vmHWM) }

func memory(status string, line *regexp.Regexp) (float64, error) {
	found := line.FindStringSubmatch(status)
	if found == nil {
		return 0, fmt.Errorf("there is no %s in %q", line, status)
	}
	kib, err := strconv.ParseFloat(found[1], 64)
	return kib * 1024 / 1e6, err
}

// cpu is the CPU time that serviceful dev has taken, without its functions.
func (d *dev) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.pid))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of serviceful dev: %w", err)
	}
	return cpuTime(string(stat))
}

// clockTick is the unit of time in a process's stat: 1/USER_HZ, which is the same on
// every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime is what a process's stat says it has taken, in its own code and in the
// kernel.
func cpuTime(stat string) (time.Duration, error) {
	_, after, _ := strings.Cut(stat[max(0, strings.LastIndex(stat, ")")):], " ") // the name may hold anything
	fields := strings.Fields(after)                                              // from the third on
	if len(fields) < 13 {
		return 0, fmt.Errorf("there is no CPU time in %q", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, errors.Join(err1, err2)
}
