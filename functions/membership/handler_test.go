package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/serviceful/serviceful/functions/serviceful/servicefultest"
)

const ada = `{"name":"Ada","email":"ada@example.com","postcode":"SW1A 1AA"}`

func TestJoin(t *testing.T) {
	services := servicefultest.New(t)
	function := newHandler(services.Client(t), randomNumber)

	answer := servicefultest.Call(function, "POST", "/members", ada)
	joined := servicefultest.JSON[member](t, answer, 201)
	if joined.person != (person{Name: "Ada", Email: "ada@example.com", Postcode: "SW1A 1AA"}) || !validNumber(joined.Number) {
		t.Errorf("joined as %+v", joined)
	}
	if location := answer.Header().Get("Location"); location != "/members/"+joined.Number {
		t.Errorf("location %q", location)
	}
	if got := servicefultest.JSON[member](t, servicefultest.Call(function, "GET", "/members/"+joined.Number, ""), 200); got != joined {
		t.Errorf("read %+v, want %+v", got, joined)
	}
	wantEvents(t, services, joinedType+" joined-"+joined.Number)
	event := services.Events()[0]
	if data := string(event.Data.(json.RawMessage)); event.Subject != joined.Number || data != `{"number":"`+joined.Number+`"}` {
		t.Errorf("event %+v with data %s, want the number and nothing else", event, data)
	}
	for _, email := range []string{"ada@example.com", "ADA@Example.com", " ada@example.com "} {
		again := `{"name":"Eve","email":"` + email + `","postcode":"N1 1AA"}`
		servicefultest.WantProblem(t, servicefultest.Call(function, "POST", "/members", again), 409)
	}
}

func TestBadInput(t *testing.T) {
	tests := map[string]struct {
		method, path, body string
		status             int
	}{
		"no JSON":               {"POST", "/members", `name=Ada`, 400},
		"no name":               {"POST", "/members", `{"email":"ada@example.com","postcode":"N1 1AA"}`, 400},
		"a name of two lines":   {"POST", "/members", `{"name":"A\nB","email":"ada@example.com","postcode":"N1 1AA"}`, 400},
		"a long name":           {"POST", "/members", strings.Replace(ada, "Ada", strings.Repeat("a", 201), 1), 400},
		"no email":              {"POST", "/members", `{"name":"Ada","postcode":"N1 1AA"}`, 400},
		"an email that is none": {"POST", "/members", `{"name":"Ada","email":"ada","postcode":"N1 1AA"}`, 400},
		"an email with a name":  {"POST", "/members", `{"name":"Ada","email":"Ada <ada@example.com>","postcode":"N1 1AA"}`, 400},
		"two emails":            {"POST", "/members", `{"name":"Ada","email":"ada@example.com,b@example.com","postcode":"N1 1AA"}`, 400},
		"no postcode":           {"POST", "/members", `{"name":"Ada","email":"ada@example.com"}`, 400},
		"a bad postcode":        {"POST", "/members", `{"name":"Ada","email":"ada@example.com","postcode":"?"}`, 400},
		"a long body":           {"POST", "/members", strings.Repeat(" ", 64<<10+1), 413},
		"an unknown member":     {"GET", "/members/6331740000000008", "", 404},
		"no number":             {"GET", "/members/ada", "", 404},
		"nobody leaves":         {"DELETE", "/members/6331740000000008", "", 404},
		"another path":          {"GET", "/", "", 404},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			services := servicefultest.New(t)
			function := newHandler(services.Client(t), randomNumber)
			servicefultest.WantProblem(t, servicefultest.Call(function, test.method, test.path, test.body), test.status)
			wantEvents(t, services)
			if left := services.Bucket("members"); len(left) != 0 {
				t.Errorf("left %v behind", left)
			}
		})
	}
}

// TestJoinBreaksOff breaks a join off at each of its calls, and repeats it: there is one member, with the number that the first
// attempt claimed.
func TestJoinBreaksOff(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), randomNumber)
		broken(func() { servicefultest.Call(function, "POST", "/members", ada) })
		var first claim
		_ = json.Unmarshal([]byte(services.Bucket("members")[emailKey("ada@example.com")]), &first)
		complete := strings.Contains(services.Bucket("members")[memberKey(first.Number)], `"joined":true`)

		if again := servicefultest.Call(function, "POST", "/members", ada); complete {
			servicefultest.WantProblem(t, again, 409)
		} else if joined := servicefultest.JSON[member](t, again, 201); first.Number != "" && joined.Number != first.Number {
			t.Errorf("joined as %s, and the email was claimed for %s", joined.Number, first.Number)
		}
		servicefultest.WantProblem(t, servicefultest.Call(function, "POST", "/members", ada), 409)

		if stored := services.Bucket("members"); len(stored) != 2 || len(services.Events()) != 1 {
			t.Fatalf("stored %v and %v, want one claim, one member and one event", stored, services.Events())
		}
		number := services.Events()[0].Subject
		if got := servicefultest.JSON[member](t, servicefultest.Call(function, "GET", "/members/"+number, ""), 200); got.Name != "Ada" {
			t.Errorf("the member is %+v", got)
		}
	})
}

// TestLeaveBreaksOff breaks an erasure off at each of its calls, and repeats it: nothing is left of the person, and the email is
// free for another member.
func TestLeaveBreaksOff(t *testing.T) {
	servicefultest.EachCall(t, func(t *testing.T, services *servicefultest.Services, broken func(func())) {
		function := newHandler(services.Client(t), randomNumber)
		number := servicefultest.JSON[member](t, servicefultest.Call(function, "POST", "/members", ada), 201).Number
		broken(func() { servicefultest.Call(function, "DELETE", "/members/"+number, "") })
		servicefultest.Call(function, "DELETE", "/members/"+number, "")
		servicefultest.WantProblem(t, servicefultest.Call(function, "DELETE", "/members/"+number, ""), 404)
		servicefultest.WantProblem(t, servicefultest.Call(function, "GET", "/members/"+number, ""), 404)
		wantEvents(t, services, joinedType+" joined-"+number, leftType+" left-"+number)
		if stored := services.Bucket("members"); len(stored) != 1 || stored[memberKey(number)] != `{"number":"`+number+`","left":true}` {
			t.Errorf("stored %v, want the number that nobody may have again", stored)
		}
		again := servicefultest.JSON[member](t, servicefultest.Call(function, "POST", "/members", ada), 201)
		if again.Number == number {
			t.Errorf("joined again with the old number")
		}
	})
}

// TestLeaveSparesTheNextMember frees the email by an erasure that breaks off: its repetition must not free it for the new member.
func TestLeaveSparesTheNextMember(t *testing.T) {
	services := servicefultest.New(t)
	client := services.Client(t)
	function := newHandler(client, randomNumber)
	old := servicefultest.JSON[member](t, servicefultest.Call(function, "POST", "/members", ada), 201)
	h := &handler{services: client, members: client.Bucket("members")}
	if err := h.freeEmail(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	next := servicefultest.JSON[member](t, servicefultest.Call(function, "POST", "/members", ada), 201)
	if answer := servicefultest.Call(function, "DELETE", "/members/"+old.Number, ""); answer.Code != 204 {
		t.Fatalf("answered %d", answer.Code)
	}
	if got := servicefultest.JSON[member](t, servicefultest.Call(function, "GET", "/members/"+next.Number, ""), 200); got != next {
		t.Errorf("the next member is %+v", got)
	}
	servicefultest.WantProblem(t, servicefultest.Call(function, "POST", "/members", ada), 409)
}

// TestNumberOfAnother draws the same number for two members, and again when the first has left.
func TestNumberOfAnother(t *testing.T) {
	services := servicefultest.New(t)
	drawn := 0
	function := newHandler(services.Client(t), func() string {
		drawn++
		number := fmt.Sprintf("%s%09d", numberPrefix, drawn/3) // 0 0 1 1 1 2 2 2
		return number + string(luhn(number))
	})
	first := servicefultest.JSON[member](t, servicefultest.Call(function, "POST", "/members", ada), 201)
	second := servicefultest.JSON[member](t, servicefultest.Call(function, "POST", "/members", strings.ReplaceAll(ada, "ada@", "bob@")), 201)
	if first.Number == second.Number {
		t.Fatalf("two members have the number %s", first.Number)
	}
	for _, number := range []string{first.Number, second.Number} {
		if answer := servicefultest.Call(function, "DELETE", "/members/"+number, ""); answer.Code != 204 {
			t.Fatalf("leaving answered %d", answer.Code)
		}
	}
	drawn = 0
	third := servicefultest.JSON[member](t, servicefultest.Call(function, "POST", "/members", ada), 201)
	if third.Number == first.Number || third.Number == second.Number {
		t.Errorf("the number %s was given again", third.Number)
	}
}

func TestManyJoinAtOnce(t *testing.T) {
	services := servicefultest.New(t)
	function := newHandler(services.Client(t), randomNumber)
	var wg sync.WaitGroup
	codes := make(chan int, 50)
	for range cap(codes) {
		wg.Go(func() { codes <- servicefultest.Call(function, "POST", "/members", ada).Code })
	}
	wg.Wait()
	close(codes)
	count := map[int]int{}
	for code := range codes {
		count[code]++
	}
	if count[http.StatusCreated] != 1 || count[http.StatusConflict] != cap(codes)-1 {
		t.Errorf("answers by status: %v, want one 201 and 409 for the others", count)
	}
	if stored := services.Bucket("members"); len(stored) != 2 || len(services.Events()) != 1 {
		t.Errorf("stored %v and %v, want one claim, one member and one event", stored, services.Events())
	}
}

func TestNumbers(t *testing.T) {
	tests := map[string]bool{
		"4539578763621486":  true, // known to pass
		"6331740000000008":  true,
		"6331740000000009":  false,
		"633174000000000":   false,
		"63317400000000080": false,
		"633174000000000x":  false,
		"":                  false,
	}
	for number, want := range tests {
		if got := validNumber(number); got != want {
			t.Errorf("validNumber(%q) = %t, want %t", number, got, want)
		}
	}
	for range 1000 {
		if number := randomNumber(); !validNumber(number) || !strings.HasPrefix(number, numberPrefix) {
			t.Fatalf("drew %s", number)
		}
	}
}

func wantEvents(t *testing.T, services *servicefultest.Services, want ...string) {
	t.Helper()
	var got []string
	for _, event := range services.Events() {
		got = append(got, event.Type+" "+event.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published %v, want %v", got, want)
	}
}
