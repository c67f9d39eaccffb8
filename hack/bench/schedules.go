package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// held is how many schedules there are while some of them are due.
const held = 10_000

// schedules measures how long after its time a function is called, with many
// schedules that are not due beside.
func schedules(ctx context.Context, w *workshop) ([]result, error) {
	program := filepath.Join(w.dir, "sink")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./hack/bench/sink").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the sink: %w\n%s", err, out)
	}
	folder := filepath.Join(w.dir, "manifests")
	due, err := writeSchedules(folder, program, held)
	if err != nil {
		return nil, err
	}
	d, err := w.start(ctx, folder)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	sink, err := d.instance(ctx, w.client, "bench.sink")
	if err != nil {
		return nil, err
	}
	var all arrived
	for range 2 { // the first, in which everything starts, do not count
		select {
		case <-time.After(10 * time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if all, err = sink.arrivals(ctx, w.client); err != nil {
			return nil, err
		}
	}
	if n := len(all.Latencies); n < 8*due || n > 12*due {
		return nil, fmt.Errorf("%d calls in 10 s, with %d schedules that are due each second", n, due)
	}
	late, first := percentile(all.Latencies, 99), percentile(all.Latencies, 0.001)
	return []result{
		{what: "schedules p99", ours: inMillis(late), value: millis(late), unit: "ms", target: 300},
		{what: "schedules earliest", ours: inMillis(first), value: millis(first), unit: "ms", target: 0, least: true},
	}, nil
}

// perFunction and perNamespace are how many triggers and functions the kind and the
// server take.
const perFunction, perNamespace = 50, 20

// writeSchedules writes the manifests of so many schedules, and returns how many of
// them are due each second: those of the sink. The others are due in a month.
func writeSchedules(folder, program string, schedules int) (due int, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return 0, fmt.Errorf("making the folder of the manifests: %w", err)
	}
	sink, err := os.ReadFile("hack/bench/sink/function.yaml")
	if err != nil {
		return 0, fmt.Errorf("reading the sink's manifest: %w", err)
	}
	var text strings.Builder
	text.WriteString(strings.Replace(string(sink), "metadata:\n", "metadata:\n  annotations: {serviceful.dev/dev-command: '"+program+"'}\n", 1))
	for ; due < perFunction-5; due++ {
		fmt.Fprintf(&text, "  - {name: due-%d, path: /scheduled, schedule: {cron: '* * * * * *', overlap: true}}\n", due)
	}
	later := time.Now().AddDate(0, 1, 0).UTC()
	for n, function := due, 0; n < schedules; function++ {
		fmt.Fprintf(&text, "---\napiVersion: serviceful.dev/v1alpha1\nkind: Function\nmetadata: {name: held-%d, namespace: held-%d, annotations: {serviceful.dev/dev-command: 'true'}}\nspec:\n  image: held\n  triggers:\n",
			function, function/perNamespace)
		for range min(perFunction, schedules-n) {
			fmt.Fprintf(&text, "  - {name: held-%d, schedule: {cron: '%d %d %d %d *', timeZone: Europe/London}}\n", n, n%60, n/60%24, later.Day(), later.Month())
			n++
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "functions.yaml"), []byte(text.String()), 0o600); err != nil {
		return 0, fmt.Errorf("writing the manifests: %w", err)
	}
	return due, nil
}
