package contract

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// clauseLine is a clause in the document: its number, its test, and the tests of
// parts of the platform that it names beside.
var clauseLine = regexp.MustCompile("(?m)^\\*\\*([A-Z]+[0-9]+)\\*\\* .*[^`] `(\\w+)`((?: `[a-z]+\\.Test\\w+`)*)$")

// TestDocument has every clause of docs/contract.md be tested, every test be of a
// clause, and every test be there.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := partTests(t)
	var written, tested []string
	for _, found := range clauseLine.FindAllStringSubmatch(string(text), -1) {
		written = append(written, found[1]+" "+found[2])
		for _, name := range strings.Fields(strings.ReplaceAll(found[3], "`", "")) {
			if !parts[name] {
				t.Errorf("clause %s names the test %s, which is nowhere", found[1], name)
			}
		}
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
		t.Errorf("%d lines begin like a clause, and %d are one: a clause is **<number>** <text> `<test>` `<package.Test>`... in one line", n, len(written))
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

// testFunc is the head of a test, testPackage the package of a file of tests.
var (
	testFunc    = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	testPackage = regexp.MustCompile(`(?m)^package (\w+?)(?:_test)?$`)
)

// partTests are the tests of the platform's parts: "package.Test".
func partTests(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir("../internal", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		of := testPackage.FindSubmatch(text)
		for _, found := range testFunc.FindAllSubmatch(text, -1) {
			out[string(of[1])+"."+string(found[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
