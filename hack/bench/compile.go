package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

func compile(ctx context.Context, _ *workshop) ([]result, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "Compile", "-benchtime", "3x", "./operator/internal/wiring").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("running wiring's benchmarks: %w\n%s", err, out)
	}
	took := compileTimes(string(out))
	few, many := took[1_000], took[10_000]
	if few == 0 || many == 0 {
		return nil, fmt.Errorf("wiring's benchmarks do not say how long 1,000 and 10,000 functions take:\n%s", out)
	}
	return []result{
		{what: "compile", ours: inMillis(many), value: millis(many), unit: "ms", target: 1000},
		{
			what: "compile per function", ours: inMillis(many / 10_000), yardstick: inMillis(few / 1_000),
			value: float64(many) / float64(10*few), target: 1.5,
		},
	}, nil
}

var compileLine = regexp.MustCompile(`(?m)^BenchmarkCompile\S*?functions=(\d+)\S*\s+\d+\s+([\d.]+) ns/op`)

// compileTimes reads the output of wiring's benchmarks: the time to compile, by
// the number of functions.
func compileTimes(output string) map[int]time.Duration {
	took := map[int]time.Duration{}
	for _, found := range compileLine.FindAllStringSubmatch(output, -1) {
		functions, err1 := strconv.Atoi(found[1])
		nanos, err2 := strconv.ParseFloat(found[2], 64)
		if err1 == nil && err2 == nil {
			took[functions] = time.Duration(nanos)
		}
	}
	return took
}
