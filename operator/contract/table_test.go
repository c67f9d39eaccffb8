package contract

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// targets are the columns of the table.
var targets = []string{"laptop", "cluster"}

// notes are how each clause fared, by target and clause.
var notes sync.Map

// skipped are the reasons of those who were skipped.
var skipped sync.Map

// note keeps how a clause fared.
func note(target, id string, t *testing.T) {
	key, result := [2]string{target, id}, "pass"
	switch why, _ := skipped.Load(key); {
	case t.Failed():
		result = "FAIL"
	case t.Skipped():
		result = fmt.Sprint("skipped: ", why)
	}
	notes.Store(key, result)
}

// skip says why a clause cannot be tested on this target.
func (c *C) skip(why string) {
	c.Helper()
	id := c.Name()[strings.LastIndexByte(c.Name(), '/')+1:]
	skipped.Store([2]string{c.name(), id}, why)
	c.Skip(why)
}

// table shows how each clause fared on each target. Those that were not asked for
// have no line.
func table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CLAUSE\tWHAT\t"+strings.ToUpper(strings.Join(targets, "\t")))
	for _, ch := range chapters {
		for _, cl := range ch.clauses {
			row, run := cl.id+"\t"+cl.short, false
			for _, target := range targets {
				result, ok := notes.Load([2]string{target, cl.id})
				if !ok {
					result = "not run"
				}
				row, run = row+"\t"+fmt.Sprint(result), run || ok
			}
			if run {
				fmt.Fprintln(w, row)
			}
		}
	}
	_ = w.Flush() // into a builder
	return b.String()
}
