package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// importTime bounds the wait for a file to be loaded.
const importTime = 5 * time.Minute

// importOffers has the reference function load a small file and a large one.
func importOffers(ctx context.Context, w *workshop) ([]result, error) {
	d, err := w.start(ctx, "functions/offers")
	if err != nil {
		return nil, err
	}
	defer d.stop()
	few, _, err := w.importFile(ctx, d, "few.csv", 5_000)
	if err != nil {
		return nil, err
	}
	many, took, err := w.importFile(ctx, d, "many.csv", 50_000)
	if err != nil {
		return nil, err
	}
	return []result{
		{what: "import", ours: inSeconds(took), value: took.Seconds(), unit: "s", target: 30},
		{
			what: "import memory", ours: fmt.Sprintf("%.3g MB", many), yardstick: fmt.Sprintf("%.3g MB", few),
			value: many / few, target: 1.25,
		},
	}, nil
}

// importFile loads a file of so many offers. memory is the most that the function
// has ever had, in MB.
func (w *workshop) importFile(ctx context.Context, d *dev, name string, offers int) (memory float64, took time.Duration, err error) {
	var file strings.Builder
	file.WriteString("id,title,welcome,expires\n")
	for n := range offers {
		fmt.Fprintf(&file, "%s-%05d,\"Offer %d, of many\",false,2099-12-31\n", strings.TrimSuffix(name, ".csv"), n, n)
	}
	address := d.gateway + "/catalogue/" + name
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, address, strings.NewReader(file.String()))
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := do(w.client, req, nil); err != nil {
		return 0, 0, fmt.Errorf("putting %s: %w", name, err)
	}
	var done struct{ Offers int }
	err = poll(ctx, 20*time.Millisecond, importTime, func() bool { return getJSON(ctx, w.client, address, &done) == nil })
	took = time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("waiting for %s to be loaded: %w", name, err)
	}
	if done.Offers != offers {
		return 0, 0, fmt.Errorf("%d of %d offers were loaded", done.Offers, offers)
	}
	memory, err = d.peakMemory("coop.offers")
	return memory, took, err
}

// peakMemory is the most resident memory that the processes of a function have
// had, in MB.
func (d *dev) peakMemory(function string) (float64, error) {
	files, err := filepath.Glob(filepath.Join(d.data, "run", function, "*.pid"))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("there is no process of %s (%w)", function, err)
	}
	most := 0.0
	for _, file := range files {
		pid, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		status, err := os.ReadFile(filepath.Join("/proc", string(pid), "status"))
		if err != nil {
			return 0, err
		}
		peak, err := peakMemory(string(status))
		if err != nil {
			return 0, err
		}
		most = max(most, peak)
	}
	return most, nil
}
