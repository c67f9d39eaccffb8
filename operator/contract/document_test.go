package contract

import (
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// clauseLine is a clause in the document: its number, and its test.
var clauseLine = regexp.MustCompile("(?m)^\\*\\*([A-Z]+[0-9]+)\\*\\* .* `(\\w+)`$")

// TestDocument has every clause of docs/contract.md be tested, every test be of a
// clause, and both be in the same order.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	var written, tested []string
	for _, found := range clauseLine.FindAllStringSubmatch(string(text), -1) {
		written = append(written, found[1]+" "+found[2])
	}
	for _, ch := range chapters {
		for _, cl := range ch.clauses {
			name := runtime.FuncForPC(reflect.ValueOf(cl.test).Pointer()).Name()
			tested = append(tested, cl.id+" "+name[strings.LastIndexByte(name, '.')+1:])
		}
	}
	for _, only := range slices.Concat(missing(written, tested), missing(tested, written)) {
		t.Errorf("%s is in the document or in the suite alone", only)
	}
	if n := strings.Count("\n"+string(text), "\n**"); n != len(written) {
		t.Errorf("%d lines begin like a clause, and %d are one: a clause is **<number>** <text> `<test>` in one line", n, len(written))
	}
	slices.Sort(written)
	if twice := slices.Compact(slices.Clone(written)); len(twice) != len(written) {
		t.Errorf("a clause is there twice: %q", written)
	}
}

// missing are those of a that b does not have.
func missing(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
