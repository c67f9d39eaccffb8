package delivery

import (
	"slices"
	"strings"
	"testing"
)

func TestFailures(t *testing.T) {
	const named, unknown, unreadable, invalid = "names it", "is no event of the batch", "are not a list", "is not the JSON"
	all := func(problem string) []string { return []string{problem, problem, problem, problem} }
	tests := map[string]struct {
		body  string
		typed bool
		want  []string // of the events 1, 2, 3 and another 3: part of the problem
	}{
		"nothing":                    {"", false, all("")},
		"nothing, said to be JSON":   {"", true, all("")},
		"text":                       {"done", false, all("")},
		"text, said to be JSON":      {"done", true, all(invalid)},
		"null":                       {"null", true, all("")},
		"another object":             {`{"done": true}`, true, all("")},
		"another value":              {`["batchItemFailures"]`, true, all("")},
		"no list":                    {`{"batchItemFailures": null}`, true, all("")},
		"an empty list":              {`{"batchItemFailures": []}`, true, all("")},
		"one":                        {`{"batchItemFailures": [{"itemIdentifier": "2"}]}`, true, []string{"", named, "", ""}},
		"one, not said to be JSON":   {`{"batchItemFailures": [{"itemIdentifier": "2"}]}`, false, []string{"", named, "", ""}},
		"all with an id":             {`{"batchItemFailures": [{"itemIdentifier": "3"}]}`, true, []string{"", "", named, named}},
		"one twice":                  {`{"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "1"}]}`, true, []string{named, "", "", ""}},
		"with more":                  {`{"a": 1, "batchItemFailures": [{"itemIdentifier": "1", "why": "x"}]}`, true, []string{named, "", "", ""}},
		"unknown":                    {`{"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "4"}]}`, true, all(unknown)},
		"empty":                      {`{"batchItemFailures": [{"itemIdentifier": ""}]}`, true, all(unreadable)},
		"null as an identifier":      {`{"batchItemFailures": [{"itemIdentifier": null}]}`, true, all(unreadable)},
		"a number as an identifier":  {`{"batchItemFailures": [{"itemIdentifier": 1}]}`, true, all(unreadable)},
		"a wrong key":                {`{"batchItemFailures": [{"itemidentifier": "1"}]}`, true, all(unreadable)},
		"no objects":                 {`{"batchItemFailures": ["1"]}`, true, all(unreadable)},
		"an object instead":          {`{"batchItemFailures": {"itemIdentifier": "1"}}`, true, all(unreadable)},
		"a key that differs by case": {`{"BatchItemFailures": [{"itemIdentifier": "1"}]}`, true, all("")},
		"cut off":                    {`{"batchItemFailures": [{"itemId`, true, all(invalid)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Failures([]string{"1", "2", "3", "3"}, []byte(test.body), test.typed)
			if !slices.EqualFunc(got, test.want, func(got, want string) bool { return (got == "") == (want == "") && strings.Contains(got, want) }) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A message that a good answer calls failed is tried again, and dead in the end.
func TestFailedInABatch(t *testing.T) {
	failed := Outcome{Called: true, Problem: "named"}
	for attempts, want := range map[int]Action{0: Retry, policy.Retry - 1: Retry, policy.Retry: Die} {
		if v := Decide(policy, Message{Attempts: attempts, Due: due}, failed, due, 0.5); v.Action != want || v.Attempts != attempts+1 || v.Message != "named" {
			t.Errorf("after %d calls: %+v", attempts, v)
		}
	}
}
