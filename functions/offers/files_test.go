package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/functions/serviceful"
)

// read is the offers and the reasons of a file, in order.
func read(content string) (lines []string, err error) {
	t, err := openTable(strings.NewReader(content))
	if err != nil {
		return nil, err
	}
	for {
		o, line, reason, err := t.next()
		switch {
		case errors.Is(err, io.EOF):
			return lines, nil
		case err != nil:
			return lines, err
		case reason != "":
			lines = append(lines, fmt.Sprintf("%d: %s", line, reason))
		default:
			expires := ""
			if o.Expires != nil {
				expires = o.Expires.UTC().Format("2006-01-02T15:04")
			}
			lines = append(lines, fmt.Sprintf("%d: %s|%s|%t|%s", line, o.ID, o.Title, o.Welcome, expires))
		}
	}
}

func TestTable(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"no line":           {"id,title\n", ""},
		"two columns":       {"id,title\ntea,Tea\n", "2: tea|Tea|false|"},
		"in another order":  {"title,expires,welcome,id\nTea,,true,tea\n", "2: tea|Tea|true|"},
		"from a spreadshet": {"\ufeffid,title\r\ntea,\"Tea, \"\"green\"\"\"\r\n", `2: tea|Tea, "green"|false|`},
		"a day":             {"id,title,expires\ntea,Tea,2026-12-31\n", "2: tea|Tea|false|2027-01-01T00:00"},
		"a time":            {"id,title,expires\ntea,Tea,2026-12-31T12:00:00+01:00\n", "2: tea|Tea|false|2026-12-31T11:00"},
		"no last new line":  {"id,title\ntea,Tea", "2: tea|Tea|false|"},
		"what is no offer": {
			"id,title,welcome,expires\nTea,Tea,,\ntea,,,\ntea,Tea,maybe,\ntea,Tea,,soon\ntea\nale,Ale,0,\n",
			"2: id must be 1 to 40 lower-case letters, digits and hyphens, and begin with no hyphen\n" +
				"3: title must be 1 to 200 characters without control characters\n" +
				"4: welcome is \"maybe\", not true or false\n" +
				"5: expires is \"soon\", neither a day such as 2026-12-31 nor an RFC 3339 time\n" +
				"6: it has another number of fields than the first line\n" +
				"7: ale|Ale|false|",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := read(test.content)
			if err != nil || strings.Join(got, "\n") != test.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, strings.Join(got, "\n"), test.want)
			}
		})
	}
}

func TestNoTable(t *testing.T) {
	for content, want := range map[string]string{
		"":                            "the file is empty",
		"id\ntea\n":                   `no column "title"`,
		"id,title,price\n":            `column "price"`,
		"id,title,id\n":               `column "id"`,
		"id,\"title\n":                "line 1 is not CSV",
		"id,title\ntea,\"Tea\" tea\n": "line 2 is not CSV",
	} {
		_, err := read(content)
		if problem, ok := errors.AsType[*serviceful.Problem](err); !ok || problem.Status != 400 || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a 400 with %q", content, err, want)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add("id,title\ntea,Tea\n")
	f.Add("id,title,welcome,expires\ntea,\"Tea\nof two lines\",true,2026-12-31\n")
	f.Fuzz(func(t *testing.T, content string) {
		table, err := openTable(strings.NewReader(content))
		for err == nil {
			var (
				o      offer
				reason string
			)
			if o, _, reason, err = table.next(); err == nil && reason == "" && (!validOffer.MatchString(o.ID) || o.Title == "") {
				t.Errorf("%+v is an offer", o)
			}
		}
	})
}
