package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// result is one line of the table.
type result struct {
	what      string
	ours      string  // as measured, with its unit
	yardstick string  // likewise; empty: the target is absolute
	value     float64 // what the target is about
	unit      string  // of value and target; empty: a ratio
	target    float64
	least     bool // the value must reach the target; otherwise it must not exceed it
}

func (r result) met() bool {
	if r.least {
		return r.value >= r.target
	}
	return r.value <= r.target
}

func (r result) String() string {
	bound, verdict := "at most", "MISSED"
	if r.least {
		bound = "at least"
	}
	if r.met() {
		verdict = "met"
	}
	unit := cmp.Or(r.unit, "x")
	return fmt.Sprintf("%-22s ours %-12s yardstick %-12s %9.3g %-3s %-8s %5.4g %-3s %s",
		r.what, r.ours, cmp.Or(r.yardstick, "-"), r.value, unit, bound, r.target, unit, verdict)
}

// rate says a number of things in a second.
func rate(perSecond float64) string { return fmt.Sprintf("%.0f/s", perSecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func inMillis(d time.Duration) string { return fmt.Sprintf("%.3g ms", millis(d)) }

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.3g s", d.Seconds()) }

// percentile is the smallest value that at least p percent of values do not
// exceed, 0 < p <= 100; of no values, zero.
func percentile[T cmp.Ordered](values []T, p float64) T {
	if len(values) == 0 {
		var none T
		return none
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(p / 100 * float64(len(sorted)))
	if float64(rank) < p/100*float64(len(sorted)) {
		rank++
	}
	return sorted[max(rank, 1)-1]
}

// median is the middle value, the lower one of two.
func median[T cmp.Ordered](values []T) T { return percentile(values, 50) }
