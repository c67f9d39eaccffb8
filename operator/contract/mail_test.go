package contract

import (
	"strings"
)

var mail = &chapter{
	name: "mail",
	spec: `
scale: {concurrency: 0, max: 1}
bindings: [{mail: {}}]
triggers:
- {name: m1, http: {path: /mail/m1}}`,
	clauses: []clause{
		{"M1", "202 and an id when it is stored; handed to SMTP", mailSent},
		{"M2", "Idempotency-Key: once, or 422", mailOnce},
		{"M3", "what is no mail: 400", mailRefused},
	},
}

// sent are the mails with a text in them.
func (c *C) sent(text string) (out []string) {
	c.Helper()
	for _, m := range c.mails(c.T) {
		if strings.Contains(m, text) {
			out = append(out, m)
		}
	}
	return out
}

func mailSent(c *C) {
	var got struct{ ID string }
	c.service("POST", "/v1/mail", `{"to": ["ada@example.com"], "subject": "M1", "text": "text of m1-`+c.ns()+`", "html": "<p>html</p>"}`).want(202).decode(&got)
	if got.ID == "" {
		c.Error("it has no id")
	}
	c.eventually("it is handed over", func() bool { return len(c.sent("text of m1-"+c.ns())) > 0 })
	m := c.sent("text of m1-" + c.ns())[0]
	for _, part := range []string{"ada@example.com", "M1", got.ID} {
		if !strings.Contains(m, part) {
			c.Errorf("there is no %q in %s", part, m)
		}
	}
}

func mailOnce(c *C) {
	send := func(text, key string) response {
		return c.service("POST", "/v1/mail", `{"to": ["ada@example.com"], "subject": "M2", "text": "`+text+c.ns()+`"}`, "Idempotency-Key: "+key)
	}
	first := send("m2-first-", "k").want(202)
	send("m2-first-", "k").want(202, first.body)
	send("m2-other-", "k").problem(422, "idempotency-key-reused")
	send("m2-other-", "").problem(400, "malformed-idempotency-key")
	send("m2-last-", "l").want(202)
	c.eventually("the last is handed over", func() bool { return len(c.sent("m2-last-"+c.ns())) == 1 && len(c.sent("m2-first-"+c.ns())) > 0 })
	if n := len(c.sent("m2-first-" + c.ns())); n != 1 {
		c.Errorf("it was handed over %d times", n)
	}
}

func mailRefused(c *C) {
	for _, body := range []string{`{`, `{"subject": "s", "text": "t"}`, `{"to": ["not an address"], "subject": "s", "text": "t"}`, `{"to": ["ada@example.com"], "subject": "s"}`} {
		c.service("POST", "/v1/mail", body).problem(400, "malformed-mail")
	}
}
