package main

import (
	"maps"
	"testing"
	"time"
)

func TestCompileTimes(t *testing.T) {
	output := `goos: linux
BenchmarkCompile/functions=1000-2         	       3	  20000000 ns/op	 100 B/op
BenchmarkCompile/functions=10000-2        	       3	 210000000.5 ns/op
BenchmarkMatch-2                          	       3	       500 ns/op
PASS`
	want := map[int]time.Duration{1000: 20 * time.Millisecond, 10000: 210 * time.Millisecond}
	if got := compileTimes(output); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestResidentMemory(t *testing.T) {
	for name, test := range map[string]struct {
		status string
		want   float64
		bad    bool
	}{
		"found":  {status: "Name:\tserviceful\nVmHWM:\t   99999 kB\nVmRSS:\t   50000 kB\nThreads:\t9\n", want: 51.2},
		"absent": {status: "Name:\tkthreadd\n", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := residentMemory(test.status)
			if got != test.want || (err != nil) != test.bad {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestCPUTime(t *testing.T) {
	for name, test := range map[string]struct {
		stat string
		want time.Duration
		bad  bool
	}{
		"found":   {stat: "42 (a name) of 1) S 1 42 42 0 -1 4194560 9 0 0 0 150 25 7 8 20 0 12 0 1", want: 1750 * time.Millisecond},
		"short":   {stat: "42 (serviceful) S 1 42", bad: true},
		"nothing": {stat: "", bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := cpuTime(test.stat)
			if got != test.want || (err != nil) != test.bad {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestSettled(t *testing.T) {
	log := `time=x level=INFO msg="the functions are wired"
time=x level=DEBUG msg=delivered function=bench.subscriber trigger=receive event_id=n0/17 attempt=1
time=x level=DEBUG msg=delivered function=bench.subscriber trigger=receive event_id="n0/18" attempt=1
time=x level=DEBUG msg=delivered function=bench.subscriber trigger=receive event_id=n12/19 attempt=1
`
	if all, foreign := settled(log); all != 3 || foreign != 1 {
		t.Errorf("got %d, of which %d are foreign", all, foreign)
	}
}

func TestChoose(t *testing.T) {
	laptop, err := choose(nil)
	if err != nil || len(laptop) == 0 || laptop[0].set != "" {
		t.Errorf("none named: got %d benchmarks, %v", len(laptop), err)
	}
	cluster, err := choose([]string{"cluster"})
	if err != nil || len(cluster) == 0 || len(cluster)+len(laptop) != len(benchmarks) {
		t.Errorf("cluster: got %d benchmarks, %v", len(cluster), err)
	}
	if one, err := choose([]string{"cold"}); err != nil || len(one) != 1 || one[0].name != "cold" {
		t.Errorf("cold: got %v, %v", one, err)
	}
	if _, err := choose([]string{"warm"}); err == nil {
		t.Error("an unknown name was accepted")
	}
}

func TestPlainService(t *testing.T) {
	rendered := `{"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": {"name": "x", "ownerReferences": [{}], "labels": {"serviceful.dev/function": "x"}},
		"spec": {
			"template": {"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}, "spec": {"serviceAccountName": "x", "timeoutSeconds": 7}},
			"traffic": [{"latestRevision": true, "percent": 100}]},
		"status": {}}`
	want := `{"apiVersion":"serving.knative.dev/v1","kind":"Service",` +
		`"metadata":{"labels":{"networking.knative.dev/visibility":"cluster-local"},"name":"y"},` +
		`"spec":{"template":{"metadata":{"annotations":{"a":"b"}},"spec":{"timeoutSeconds":7}}}}`
	if got, err := plainService(rendered, "y"); got != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}
