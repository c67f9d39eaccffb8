package mail

import (
	"bytes"
	"errors"
	netmail "net/mail"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/serviceful/serviceful/operator/internal/testkit/smtpsink"
)

// sender returns an SMTP for addr, changed by the options and closed after the test.
func sender(t testing.TB, addr string, options ...func(*Config)) *SMTP {
	t.Helper()
	c := Config{Address: addr, From: "Coop <noreply@coop.example>", Domain: "coop.example"}
	for _, option := range options {
		option(&c)
	}
	s, err := NewSMTP(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// message returns one that can be sent.
func message() Message {
	return Message{
		ID: "m-1", To: []string{"a@b.example"}, Subject: "Welcome", Text: "Hello",
		Time: time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600)),
	}
}

// only returns the single mail that the sink got.
func only(t testing.TB, sink *smtpsink.Sink) smtpsink.Message {
	t.Helper()
	messages := sink.Messages()
	if len(messages) != 1 {
		t.Fatalf("the server has %d mails, want 1", len(messages))
	}
	return messages[0]
}

func TestSend(t *testing.T) {
	long := strings.Repeat("Ünïcödé and\r\n.a dot = sign ", 500) + "."
	tests := map[string]struct {
		change     func(*Message)
		text, html string
		subject    string
		from       string
		to         []string
	}{
		"text":               {func(m *Message) {}, "Hello", "", "Welcome", "noreply@coop.example", []string{"a@b.example"}},
		"html":               {func(m *Message) { m.Text, m.HTML = "", "<p>Hi" }, "", "<p>Hi", "Welcome", "noreply@coop.example", []string{"a@b.example"}},
		"both":               {func(m *Message) { m.HTML = "<p>Hi" }, "Hello", "<p>Hi", "Welcome", "noreply@coop.example", []string{"a@b.example"}},
		"own sender":         {func(m *Message) { m.From = "Offers <offers@coop.example>" }, "Hello", "", "Welcome", "offers@coop.example", []string{"a@b.example"}},
		"non-ASCII subject":  {func(m *Message) { m.Subject = "Grüße aus Köln " + strings.Repeat("ß", 90) }, "Hello", "", "Grüße aus Köln " + strings.Repeat("ß", 90), "noreply@coop.example", []string{"a@b.example"}},
		"long subject":       {func(m *Message) { m.Subject = strings.Repeat("long word ", 90) + "." }, "Hello", "", strings.Repeat("long word ", 90) + ".", "noreply@coop.example", []string{"a@b.example"}},
		"long text":          {func(m *Message) { m.Text = long }, long, "", "Welcome", "noreply@coop.example", []string{"a@b.example"}},
		"several recipients": {func(m *Message) { m.To = []string{"a@b", "C D <c@d>", `"e, f" <e@f>`} }, "Hello", "", "Welcome", "noreply@coop.example", []string{"a@b", "c@d", "e@f"}},
		"quoted local part":  {func(m *Message) { m.To = []string{`"a b"@c`} }, "Hello", "", "Welcome", "noreply@coop.example", []string{"a b@c"}},
		"non-ASCII address":  {func(m *Message) { m.To = []string{"zoë@müller.example"} }, "Hello", "", "Welcome", "noreply@coop.example", []string{"zoë@müller.example"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sink, m := smtpsink.Start(t), message()
			test.change(&m)
			if err := sender(t, sink.Addr()).Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			got := only(t, sink)
			if got.Text != test.text || got.HTML != test.html || got.Subject != test.subject {
				t.Errorf("got text %q, HTML %q, subject %q", got.Text, got.HTML, got.Subject)
			}
			if got.From != test.from || !reflect.DeepEqual(got.To, test.to) || len(got.Recipients) != len(test.to) {
				t.Errorf("from %q to %q (%q), want %q to %q", got.From, got.To, got.Recipients, test.from, test.to)
			}
			if date := got.Header.Get("Date"); got.MessageID != "<m-1@coop.example>" || date != "Tue, 03 Feb 2026 03:05:06 +0000" {
				t.Errorf("Message-ID %s, Date %s", got.MessageID, date)
			}
		})
	}
}

func TestSendNames(t *testing.T) {
	sink, m := smtpsink.Start(t), message()
	m.From, m.To = "Läden <l@coop.example>", []string{"Zoë Müller <z@b.example>", `"O'Hara, \"Bob\"" <o@b.example>`}
	if err := sender(t, sink.Addr()).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	header := only(t, sink).Header
	for field, want := range map[string][]string{"From": {"Läden"}, "To": {"Zoë Müller", `O'Hara, "Bob"`}} {
		addresses, err := header.AddressList(field)
		var names []string
		for _, a := range addresses {
			names = append(names, a.Name)
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("%s has names %q (%v), want %q", field, names, err, want)
		}
	}
}

// TestSendAgain sends one message over different connections and senders: the server must see the very same bytes.
func TestSendAgain(t *testing.T) {
	sink, m := smtpsink.Start(t), message()
	m.To, m.HTML = []string{"Zoë <a@b>", "c@d"}, "<p>Hello"
	for range 3 {
		s := sender(t, sink.Addr())
		for range 2 {
			if err := s.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.ID = "m-2"
	if err := sender(t, sink.Addr()).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got := sink.Messages()
	for _, again := range got[1:6] {
		if !bytes.Equal(again.Raw, got[0].Raw) {
			t.Fatalf("sent first\n%s\nand then\n%s", got[0].Raw, again.Raw)
		}
	}
	if got[6].MessageID != "<m-2@coop.example>" {
		t.Errorf("another mail has Message-ID %s", got[6].MessageID)
	}
}

func TestSendRefused(t *testing.T) {
	tests := map[string]struct {
		verb      string
		reply     error
		code      int
		temporary bool
	}{
		"MAIL 4xx":                     {"MAIL", smtpsink.Reply(451, "later"), 451, true},
		"MAIL 5xx":                     {"MAIL", smtpsink.Reply(553, "not you"), 553, false},
		"RCPT 4xx":                     {"RCPT", smtpsink.Reply(450, "greylisted"), 450, true},
		"RCPT 5xx":                     {"RCPT", smtpsink.Reply(550, "no such user"), 550, false},
		"DATA 4xx":                     {"DATA", smtpsink.Reply(452, "full"), 452, true},
		"DATA 5xx":                     {"DATA", smtpsink.Reply(554, "spam"), 554, false},
		"shutting down":                {"MAIL", smtpsink.Reply(421, "closing"), 421, true},
		"a refusal that is not a mail": {"EHLO", smtpsink.Reply(550, "go away"), 550, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sink := smtpsink.Start(t)
			s := sender(t, sink.Addr(), func(c *Config) { c.Connections = 1 })
			sink.SetHook(func(verb, _ string) error {
				if verb == test.verb {
					return test.reply
				}
				return nil
			})
			m := message()
			m.To = []string{"a@b", "c@d"}
			var refused *Error
			if err := s.Send(t.Context(), m); !errors.As(err, &refused) {
				t.Fatalf("Send: %v", err)
			}
			if refused.Code != test.code || refused.Temporary != test.temporary {
				t.Errorf("error %+v, want code %d, temporary %v", refused, test.code, test.temporary)
			}
			sink.SetHook(nil)
			if err := s.Send(t.Context(), m); err != nil {
				t.Errorf("after a refusal: %v", err)
			}
			if got := only(t, sink); len(got.Recipients) != 2 {
				t.Errorf("after a refusal a mail goes to %q", got.Recipients)
			}
			if kept := test.code != 421 && test.verb != "EHLO"; kept != (sink.Connections() == 1) {
				t.Errorf("%d connections were opened", sink.Connections())
			}
		})
	}
}

// TestSendInvalid covers what can only be wrong in a message that Parse did not see.
func TestSendInvalid(t *testing.T) {
	sink := smtpsink.Start(t)
	s := sender(t, sink.Addr())
	for name, change := range map[string]func(*Message){
		"id with a line break":      func(m *Message) { m.ID = "a\r\nBcc: x@y" },
		"id with an angle bracket":  func(m *Message) { m.ID = "a>b" },
		"id with an empty part":     func(m *Message) { m.ID = "a..b" },
		"no id":                     func(m *Message) { m.ID = "" },
		"long id":                   func(m *Message) { m.ID = strings.Repeat("a", 251) },
		"no time":                   func(m *Message) { m.Time = time.Time{} },
		"subject with a line break": func(m *Message) { m.Subject = "a\nBcc: x@y" },
		"sender with a line break":  func(m *Message) { m.From = "a@b\r\nBcc: x@y" },
		"sender's encoded break":    func(m *Message) { m.From = "=?utf-8?q?a=0ABcc=3A_x=40y?= <a@b>" },
		"recipient with a command":  func(m *Message) { m.To = []string{"a@b>\r\nRCPT TO:<x@y"} },
		"nobody":                    func(m *Message) { m.To = nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := message()
			change(&m)
			var refused *Error
			if err := s.Send(t.Context(), m); !errors.As(err, &refused) || refused.Temporary || refused.Code != 0 {
				t.Errorf("Send: %#v", err)
			}
		})
	}
	if n := sink.Connections(); n != 0 {
		t.Errorf("%d connections were opened for nothing", n)
	}
}

func TestSendNeedsSMTPUTF8(t *testing.T) {
	sink, m := smtpsink.Start(t, func(s *smtp.Server) { s.EnableSMTPUTF8 = false }), message()
	m.To = []string{"zoë@b.example"}
	var refused *Error
	if err := sender(t, sink.Addr()).Send(t.Context(), m); !errors.As(err, &refused) || refused.Temporary {
		t.Errorf("Send: %v", err)
	}
}

func TestNewSMTP(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no port":      {func(c *Config) { c.Address = "localhost" }, "SMTP address: address localhost: missing port"},
		"named port":   {func(c *Config) { c.Address = "localhost:smtp" }, `SMTP address: port "smtp" is not a number`},
		"large port":   {func(c *Config) { c.Address = "localhost:65536" }, `SMTP address: port "65536" is not a number`},
		"no sender":    {func(c *Config) { c.From = "" }, "SMTP sender: is not an address"},
		"no domain":    {func(c *Config) { c.Domain = "" }, "SMTP domain: must be a domain name"},
		"bad domain":   {func(c *Config) { c.Domain = "a b" }, "SMTP domain: must be a domain name"},
		"TLS":          {func(c *Config) { c.TLS = "always" }, `SMTP TLS: must be opportunistic, required or never, not "always"`},
		"negative":     {func(c *Config) { c.Timeout = -1 }, "SMTP timeout, connections and idle time: must not be negative"},
		"no certainty": {func(c *Config) { c.Connections = -1 }, "SMTP timeout, connections and idle time: must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{Address: "localhost:25", From: "a@b", Domain: "b"}
			test.change(&c)
			if _, err := NewSMTP(c); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// FuzzParse: what Parse accepts can be sent, and reads as a mail to those recipients with that subject.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"to":["Zoë <a@b>","c@d"],"subject":"é\u0085","text":"x\n.\ny","html":"<p>"}`))
	f.Add([]byte(`{"to":"\"a\\\"b\"@[127.0.0.1]","subject":" s ","text":"x"}`))
	f.Add([]byte(`{"to":"=?utf-8?q?=0D?= <a@b>","subject":"=?utf-8?q?=0D=0A?=","html":"="}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Parse(body)
		if err != nil {
			return
		}
		m.ID, m.From, m.Time = "id", "from@example.org", time.Unix(0, 0)
		l, err := compose(m, "example.org")
		if err != nil {
			t.Fatalf("composing %+v: %v", m, err)
		}
		read, err := netmail.ReadMessage(bytes.NewReader(l.data))
		if err != nil {
			t.Fatalf("reading %q: %v", l.data, err)
		}
		for name := range read.Header {
			if !slices.Contains([]string{"Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To"}, name) {
				t.Fatalf("%+v adds the header %s to %q", m, name, l.data)
			}
		}
		if to, err := read.Header.AddressList("To"); err != nil || len(to) != len(m.To) || len(l.to) != len(m.To) {
			t.Fatalf("%q is to %v (%v), want %q", l.data, to, err, m.To)
		}
		for _, address := range l.to {
			if strings.ContainsAny(address, "\r\n") {
				t.Fatalf("%q is a command of its own", address)
			}
		}
	})
}
