package mail

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	many := `"a@b"` + strings.Repeat(`,"a@b"`, 49)
	tests := map[string]struct {
		body    string
		want    Message
		wantErr string
	}{
		"one address":    {`{"to":"a@b","subject":"Hi","text":"x"}`, Message{To: []string{"a@b"}, Subject: "Hi", Text: "x"}, ""},
		"several":        {`{"to":["a@b","Zoë <z@b>"],"subject":"Hi","html":"<p>"}`, Message{To: []string{"a@b", "Zoë <z@b>"}, Subject: "Hi", HTML: "<p>"}, ""},
		"both bodies":    {`{"to":"a@b","subject":"é","text":"x","html":"y"}`, Message{To: []string{"a@b"}, Subject: "é", Text: "x", HTML: "y"}, ""},
		"longest":        {`{"to":"a@b","subject":"` + strings.Repeat("s", 998) + `","text":"x"}`, Message{To: []string{"a@b"}, Subject: strings.Repeat("s", 998), Text: "x"}, ""},
		"fifty":          {`{"to":[` + many + `],"subject":"s","text":"x"}`, Message{To: strings.Split(strings.ReplaceAll(many, `"`, ""), ","), Subject: "s", Text: "x"}, ""},
		"fifty-one":      {`{"to":[` + many + `,"a@b"],"subject":"s","text":"x"}`, Message{}, "to: must have 1 to 50 addresses, has 51"},
		"nobody":         {`{"subject":"s","text":"x"}`, Message{}, "to: must have 1 to 50 addresses, has 0"},
		"null":           {`{"to":null,"subject":"s","text":"x"}`, Message{}, "to: must have 1 to 50 addresses, has 0"},
		"empty list":     {`{"to":[],"subject":"s","text":"x"}`, Message{}, "to: must have 1 to 50 addresses, has 0"},
		"empty address":  {`{"to":"","subject":"s","text":"x"}`, Message{}, "to: must be an address or a list of addresses"},
		"number":         {`{"to":7,"subject":"s","text":"x"}`, Message{}, "to: must be an address or a list of addresses"},
		"no address":     {`{"to":["a@b","ann"],"subject":"s","text":"x"}`, Message{}, "to[1]: is not an address like name@example.org"},
		"two in one":     {`{"to":"a@b, c@d","subject":"s","text":"x"}`, Message{}, "to[0]: is not an address like"},
		"line in a name": {`{"to":"=?utf-8?q?a=0D=0ABcc=3A_x=40y?= <a@b>","subject":"s","text":"x"}`, Message{}, "to[0]: must not contain line breaks"},
		"line in to":     {`{"to":"a@b\r\nBcc: x@y","subject":"s","text":"x"}`, Message{}, "to[0]: is not an address like"},
		"long address":   {`{"to":"` + strings.Repeat("a", 998) + `@b","subject":"s","text":"x"}`, Message{}, "to[0]: must be at most 998 bytes"},
		"no subject":     {`{"to":"a@b","text":"x"}`, Message{}, "subject: is required"},
		"blank subject":  {`{"to":"a@b","subject":"  ","text":"x"}`, Message{}, "subject: is required"},
		"long subject":   {`{"to":"a@b","subject":"` + strings.Repeat("s", 999) + `","text":"x"}`, Message{}, "subject: must be at most 998 bytes long, is 999"},
		"line break":     {`{"to":"a@b","subject":"s\r\nBcc: x@y","text":"x"}`, Message{}, "subject: must not contain line breaks"},
		"line feed":      {`{"to":"a@b","subject":"s\nt","text":"x"}`, Message{}, "subject: must not contain line breaks"},
		"typed wrong":    {`{"to":"a@b","subject":7,"text":"x"}`, Message{}, "subject: must be a string, got number"},
		"no body":        {`{"to":"a@b","subject":"s"}`, Message{}, "text, html: at least one is required"},
		"unknown field":  {`{"to":"a@b","subject":"s","text":"x","bcc":"x@y"}`, Message{}, `"bcc": unknown field; there are to, subject, text and html`},
		"sender":         {`{"from":"x@y","to":"a@b","subject":"s","text":"x"}`, Message{}, `"from": unknown field`},
		"a list":         {`[]`, Message{}, "body: must be a JSON object, got array"},
		"two objects":    {`{"to":"a@b","subject":"s","text":"x"}{}`, Message{}, "body: must be one JSON object"},
		"garbage after":  {`{"to":"a@b","subject":"s","text":"x"}!`, Message{}, "body: must be one JSON object"},
		"cut":            {`{"to":"a@b`, Message{}, "body: unexpected EOF"},
		"empty":          {``, Message{}, "body: is empty"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(test.body))
			if test.wantErr == "" {
				if err != nil || !reflect.DeepEqual(got, test.want) {
					t.Errorf("Parse = %+v, %v, want %+v", got, err, test.want)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.wantErr) {
				t.Errorf("error %v, want %q", err, test.wantErr)
			}
		})
	}
}
