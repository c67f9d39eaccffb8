package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/serviceful/serviceful/functions/serviceful"
	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
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

// TestLoad breaks the loading of a file off at each of its calls and repeats it.
func TestLoad(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), at(today))
		servicefultest.JSON[offerAnswer](t, servicefultest.Call(function, "POST", "/offers", `{"id":"tea","title":"Tea","welcome":true}`), 201)
		servicefultest.WantProblem(t, servicefultest.Call(function, "GET", "/catalogue/spring.csv", ""), 404)
		file := "id,title,welcome,expires\ntea,Green tea,false,\ncake,Cake,true,2026-12-31\n,Nothing,,\n"
		if answer := servicefultest.Call(function, "PUT", "/catalogue/spring.csv", file); answer.Code != 202 {
			t.Fatalf("answered %d %s", answer.Code, answer.Body)
		}
		put := serviceful.Event{
			ID: "7", Source: "/stores/catalogue", Type: serviceful.ObjectPut, Subject: "spring.csv", Time: today,
			Data: serviceful.ObjectChange{Store: "catalogue", Name: "spring.csv"},
		}
		broken(func() { servicefultest.Deliver(t, function, "/files", put) })
		for range 2 {
			events := servicefultest.Answered(t, servicefultest.Deliver(t, function, "/files", put))
			wantEvents(t, events, importedType+" imported-spring.csv-7")
		}
		done := servicefultest.JSON[loaded](t, servicefultest.Call(function, "GET", "/catalogue/spring.csv", ""), 200)
		if done.Offers != 2 || done.Rejected != 1 || len(done.Reasons) != 1 || !strings.HasPrefix(done.Reasons[0], "line 4: id") {
			t.Errorf("loaded %+v", done)
		}
		servicefultest.Deliver(t, function, "/events/joined", joined)
		wantOffers(t, function, "cake:allocated")
		if stored := services.Bucket("offers")[offerKeys+"tea"]; stored != `{"id":"tea","title":"Green tea","welcome":false,"expires":null}` {
			t.Errorf("stored %s", stored)
		}
	})
}

// TestLoadOfWhatIsGone has nothing to do for a file that was removed, and names no file that is none.
func TestLoadOfWhatIsGone(t *testing.T) {
	function := newHandler(servicefultest.New(t).Client(t), at(today))
	gone := serviceful.Event{
		ID: "8", Source: "/stores/catalogue", Type: serviceful.ObjectDeleted, Subject: "spring.csv", Time: today,
		Data: serviceful.ObjectChange{Store: "catalogue", Name: "spring.csv"},
	}
	wantEvents(t, servicefultest.Answered(t, servicefultest.Deliver(t, function, "/files", gone)))
	servicefultest.WantProblem(t, servicefultest.Call(function, "PUT", "/catalogue/spring.txt", "x"), 400)
}

// TestWelcomeOffersAreBounded checks that a file cannot bring more than a new member gets.
func TestWelcomeOffersAreBounded(t *testing.T) {
	var file strings.Builder
	file.WriteString("id,title,welcome\n")
	for i := range maxWelcome + 1 {
		fmt.Fprintf(&file, "o-%d,Offer,true\n", i)
	}
	function := newHandler(servicefultest.New(t).Client(t), at(today))
	servicefultest.Call(function, "PUT", "/catalogue/many.csv", file.String())
	servicefultest.Answered(t, servicefultest.Deliver(t, function, "/files", serviceful.Event{
		ID: "9", Source: "/stores/catalogue", Type: serviceful.ObjectPut, Time: today, Data: serviceful.ObjectChange{Name: "many.csv"},
	}))
	done := servicefultest.JSON[loaded](t, servicefultest.Call(function, "GET", "/catalogue/many.csv", ""), 200)
	if done.Offers != maxWelcome || done.Rejected != 1 || !strings.Contains(done.Reasons[0], "no more are possible") {
		t.Errorf("loaded %+v", done)
	}
}
