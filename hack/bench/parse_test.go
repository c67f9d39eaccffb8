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

func TestChoose(t *testing.T) {
	if all, err := choose(nil); err != nil || len(all) != len(benchmarks) {
		t.Errorf("none named: got %d benchmarks, %v", len(all), err)
	}
	if one, err := choose([]string{"cold"}); err != nil || len(one) != 1 || one[0].name != "cold" {
		t.Errorf("cold: got %v, %v", one, err)
	}
	if _, err := choose([]string{"warm"}); err == nil {
		t.Error("an unknown name was accepted")
	}
}
