package main

import (
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for name, test := range map[string]struct {
		values []int
		p      float64
		want   int
	}{
		"none":            {nil, 50, 0},
		"one":             {[]int{7}, 99, 7},
		"median, odd":     {[]int{9, 1, 5}, 50, 5},
		"median, even":    {[]int{4, 1, 3, 2}, 50, 2},
		"rank rounded up": {[]int{1, 2, 3}, 67, 3},
		"p99":             {hundred, 99, 99},
		"p100":            {hundred, 100, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := percentile(test.values, test.p); got != test.want {
				t.Errorf("percentile(%v) = %d, want %d", test.p, got, test.want)
			}
		})
	}
	if hundred[0] != 100 {
		t.Error("the values were sorted in place")
	}
}

func TestResult(t *testing.T) {
	for name, test := range map[string]struct {
		result result
		want   string
	}{
		"at least, met": {
			result{what: "sync", ours: rate(4500), yardstick: rate(10000), value: 0.45, target: 0.45, least: true},
			"sync                   ours 4500/s       yardstick 10000/s           0.45 x   at least  0.45 x   met",
		},
		"at least, missed": {
			result{what: "sync", ours: rate(4400), yardstick: rate(10000), value: 0.44, target: 0.45, least: true},
			"sync                   ours 4400/s       yardstick 10000/s           0.44 x   at least  0.45 x   MISSED",
		},
		"at most, absolute, missed": {
			result{what: "events-latency p99", ours: inMillis(2100 * time.Microsecond), value: 2.1, unit: "ms", target: 2},
			"events-latency p99     ours 2.1 ms       yardstick -                  2.1 ms  at most      2 ms  MISSED",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.result.String(); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}
