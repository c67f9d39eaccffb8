package smtpsink

import (
	"net/smtp"
	"reflect"
	"strings"
	"testing"
)

const mixed = `From: <a@b>
To: "C D" <c@d>, e@f
Message-ID: <1@b>
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Content-Type: multipart/mixed; boundary=o

--o
Content-Type: multipart/alternative; boundary=i

--i
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

=C3=A9=
t=C3=A9

--i
Content-Type: text/html
Content-Transfer-Encoding: base64

PHA+SGk8L3A+
--i--
--o
Content-Type: application/pdf

%PDF
--o--
`

func TestMessages(t *testing.T) {
	tests := map[string]struct {
		raw     string
		want    Message // Header and Raw are not compared
		wantErr string
	}{
		"bare":           {"Subject: s\n\nHello\n\nyou\n", Message{Subject: "s", Text: "Hello\r\n\r\nyou"}, ""},
		"parts in parts": {mixed, Message{MessageID: "<1@b>", To: []string{"c@d", "e@f"}, Subject: "Grüße", Text: "été", HTML: "<p>Hi</p>"}, ""},
		"no header":      {"Hello", Message{}, "reading the headers"},
		"bad recipient":  {"To: a b\n\nx", Message{}, "reading To"},
		"bad charset":    {"Subject: =?x-none?q?a?=\n\nx", Message{}, "decoding the subject"},
		"cut short":      {"Content-Type: multipart/mixed; boundary=o\n\n--o\n\nabc", Message{}, "decoding a text/plain part"},
		"no part":        {"Content-Type: multipart/mixed; boundary=o\n\nabc", Message{}, "reading a part"},
		"bad base64":     {"Content-Transfer-Encoding: base64\n\n!", Message{}, "decoding a text/plain part"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			sink, raw := Start(t), strings.ReplaceAll(test.raw, "\n", "\r\n")
			err := smtp.SendMail(sink.Addr(), nil, "a@b", []string{"c@d", "x@y"}, []byte(raw))
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) || len(sink.Messages()) != 0 {
					t.Errorf("error %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil || len(sink.Messages()) != 1 {
				t.Fatalf("%d mails (%v), want 1", len(sink.Messages()), err)
			}
			got := sink.Messages()[0]
			if string(got.Raw) != raw || got.Header == nil {
				t.Errorf("got %q, want %q", got.Raw, raw)
			}
			got.Raw, got.Header = nil, nil
			test.want.From, test.want.Recipients = "a@b", []string{"c@d", "x@y"}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestHook(t *testing.T) {
	sink := Start(t)
	var asked []string
	sink.SetHook(func(verb, value string) error {
		asked = append(asked, verb+" "+value)
		if value == "bad@d" {
			return Reply(550, "unknown")
		}
		return nil
	})
	send := func(to string) error {
		return smtp.SendMail(sink.Addr(), nil, "a@b", []string{to}, []byte("A: b\r\n\r\nx"))
	}
	if err := send("bad@d"); err == nil || !reflect.DeepEqual(asked, []string{"EHLO localhost", "MAIL a@b", "RCPT bad@d"}) {
		t.Errorf("error %v after %q", err, asked)
	}
	if err := send("good@d"); err != nil || asked[len(asked)-1] != "DATA " {
		t.Errorf("error %v after %q", err, asked)
	}
	if got := sink.Messages(); len(got) != 1 || got[0].Recipients[0] != "good@d" || sink.Connections() != 2 {
		t.Errorf("got %+v over %d connections", got, sink.Connections())
	}
}

func TestClose(t *testing.T) {
	sink := Start(t)
	for range 2 {
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := smtp.SendMail(sink.Addr(), nil, "a@b", []string{"c@d"}, nil); err == nil {
		t.Error("a closed sink still answers")
	}
	other := Start(t)
	if _, err := New(other.Addr()); err == nil {
		t.Error("two sinks share an address")
	}
}
