package dead

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
)

var (
	offers = names.Function{Namespace: "coop", Name: "offers"}
	now    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

// buried is a whole letter of a message.
func buried(t *testing.T, m *envelope.Message, d envelope.DeadLetter) Letter {
	t.Helper()
	stored := envelope.Dead(m, offers, d)
	stored.Sequence = 42
	l, err := Whole("coop", stored)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func event() *envelope.Message {
	m := envelope.New("ev.coop.offers.offer.redeemed.v1", []byte("data"))
	m.Header.Set("ce-id", "1")
	m.Header.Set("ce-type", "offers.offer.redeemed.v1")
	m.Header.Set("Authorization", "Bearer of an extension")
	return m
}

func call() *envelope.Message {
	return envelope.Call(offers, "redeem", "abc", envelope.Request{
		Method: "POST", Target: "/offers?key=1", Host: "shop.example",
		Header: map[string][]string{"Authorization": {"Bearer s3cret"}, "cookie": {"session=s3cret"}, "Accept": {"*/*"}},
	}, []byte("a body\x1b[2J"))
}

func mail() *envelope.Message { return envelope.New(names.Mail(offers, "xyz"), []byte("{}")) }

func queued() *envelope.Message {
	m := envelope.New(names.QueueMessage("coop", "resize", "q1"), []byte("a job"))
	m.Header.Set("ce-id", "q1")
	m.Header.Set("ce-type", "dev.serviceful.queue.message.v1")
	return m
}

func tick() *envelope.Message { return envelope.New(names.Tick(offers, "nightly"), nil) }

func TestKind(t *testing.T) {
	for want, m := range map[Kind]*envelope.Message{
		Event: event(), Call: call(), Mail: mail(), Queued: queued(), Schedule: tick(), Unknown: envelope.New("later.coop.what", nil),
	} {
		if l := buried(t, m, death("any")); l.Kind != want {
			t.Errorf("a letter of %q is of the kind %s, want %s", m.Subject, l.Kind, want)
		}
	}
}

func death(trigger string) envelope.DeadLetter {
	return envelope.DeadLetter{
		Trigger: trigger, Origin: "7", Reason: "Rejected", Message: "the function answered 400 Bad Request", Attempts: 1,
		First: now.Add(-time.Minute), Died: now, Last: &envelope.LastResponse{Status: 400, Body: []byte("no\xff")},
	}
}

func TestID(t *testing.T) {
	id := ID{"coop", 42}
	if got, err := ParseID(id.String()); err != nil || got != id || id.String() != "coop/42" {
		t.Errorf("%s came back as %v, %v", id, got, err)
	}
	for _, s := range []string{"", "coop", "42", "coop/", "coop/0", "coop/x", "coop/-1", "/42", "co op/42", "*/42", "a.b/42", "coop/42/7"} {
		if got, err := ParseID(s); err == nil {
			t.Errorf("%q is the id %v", s, got)
		}
	}
}

func TestParseTrigger(t *testing.T) {
	want := Trigger{"offers", "welcome"}
	if got, err := ParseTrigger(want.String()); err != nil || got != want {
		t.Errorf("%s came back as %v, %v", want, got, err)
	}
	for _, s := range []string{"", "offers", "offers/", "/welcome", "a/b/c", "*/b", "a.b/c", "a/>", "a /b"} {
		if got, err := ParseTrigger(s); err == nil {
			t.Errorf("%q is the trigger %v", s, got)
		}
	}
}

func TestTarget(t *testing.T) {
	cut := death("redeem")
	cut.Cut = 9
	other := Trigger{"new", "again"}
	unknown := event()
	unknown.Subject = "later.coop.what"
	tests := map[string]struct {
		letter Letter
		to     Trigger
		want   Target
	}{
		"an event":             {buried(t, event(), death("welcome")), Trigger{}, Target{"EV_coop", "offers_welcome", "evretry.coop.offers.welcome"}},
		"an event, elsewhere":  {buried(t, event(), death("welcome")), other, Target{"EV_coop", "new_again", "evretry.coop.new.again"}},
		"a call":               {buried(t, call(), death("redeem")), Trigger{}, Target{"WORK_coop", "offers_redeem", "work.coop.call.offers.redeem.abc"}},
		"a call, elsewhere":    {buried(t, call(), death("redeem")), other, Target{"WORK_coop", "new_again", "work.coop.call.new.again.abc"}},
		"a mail":               {buried(t, mail(), death(names.MailTrigger)), Trigger{}, Target{"WORK_coop", "mail", "work.coop.mail.offers.xyz"}},
		"a mail, elsewhere":    {buried(t, mail(), death(names.MailTrigger)), other, Target{}},
		"a queue's message":    {buried(t, queued(), death("jobs")), Trigger{}, Target{"WORK_coop", "offers_jobs", "work.coop.queue.resize.q1"}},
		"a queue's, elsewhere": {buried(t, queued(), death("jobs")), other, Target{}},
		"a schedule's":         {buried(t, tick(), death("nightly")), Trigger{}, Target{"WORK_coop", "offers_nightly", "work.coop.cron.offers.nightly.7"}},
		"without its body":     {buried(t, call(), cut), Trigger{}, Target{}},
		"of another version":   {buried(t, unknown, death("welcome")), Trigger{}, Target{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := test.letter.Target(test.to)
			if got != test.want || (err != nil) != (test.want == Target{}) || err != nil && !errors.Is(err, ErrCannotReplay) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestFilter(t *testing.T) {
	anEvent, aCall := buried(t, event(), death("welcome")), buried(t, call(), death("redeem"))
	tests := map[string]struct {
		filter      Filter
		event, call bool
	}{
		"all":                {Filter{}, true, true},
		"function":           {Filter{Function: "offers"}, true, true},
		"another function":   {Filter{Function: "membership"}, false, false},
		"trigger":            {Filter{Trigger: "welcome"}, true, false},
		"type":               {Filter{Types: []string{"a", "offers.offer.redeemed.v1"}}, true, false},
		"prefix":             {Filter{Types: []string{"offers.*"}}, true, false},
		"all types":          {Filter{Types: []string{"*"}}, true, false},
		"another type":       {Filter{Types: []string{"offers.offer"}}, false, false},
		"reason":             {Filter{Reasons: []string{"MaxAge", "Rejected"}}, true, true},
		"another reason":     {Filter{Reasons: []string{"MaxAge"}}, false, false},
		"since then":         {Filter{Since: now}, true, true},
		"since later":        {Filter{Since: now.Add(1)}, false, false},
		"until then":         {Filter{Until: now}, false, false},
		"until later":        {Filter{Until: now.Add(1)}, true, true},
		"all that is called": {Filter{Function: "offers", Trigger: "redeem", Reasons: []string{"Rejected"}, Since: now}, false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if e, c := test.filter.Match(anEvent), test.filter.Match(aCall); e != test.event || c != test.call {
				t.Errorf("it means the event: %v, the call: %v", e, c)
			}
			if err := test.filter.Validate(); err != nil {
				t.Errorf("it is refused: %v", err)
			}
			if all := name == "all"; test.filter.All() != all {
				t.Errorf("it means all: %v", test.filter.All())
			}
		})
	}
}

func TestFilterRefused(t *testing.T) {
	tests := map[string]struct {
		filter Filter
		want   string
	}{
		"a subject for a function": {Filter{Function: "*"}, "function"},
		"a subject for a trigger":  {Filter{Trigger: "a.b"}, "trigger"},
		"no type":                  {Filter{Types: []string{"a..b"}}, "event type"},
		"an unknown reason":        {Filter{Reasons: []string{"Bored"}}, "RetriesUsedUp, MaxAge"},
		"no time at all":           {Filter{Since: now, Until: now}, "nothing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := test.filter.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestFilterSubject(t *testing.T) {
	for want, f := range map[string]Filter{
		"dead.coop.*.*":           {Reasons: []string{"MaxAge"}},
		"dead.coop.offers.*":      {Function: "offers"},
		"dead.coop.*.welcome":     {Trigger: "welcome"},
		"dead.coop.offers.redeem": {Function: "offers", Trigger: "redeem"},
	} {
		if got := f.Subject("coop"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	tests := map[string]time.Time{
		"2026-01-02T03:04:05Z":           now,
		"2026-01-02T04:04:05.5+01:00":    now.Add(500 * time.Millisecond),
		"0s":                             now,
		"90s":                            now.Add(-90 * time.Second),
		"2h30m":                          now.Add(-150 * time.Minute),
		"7d":                             now.Add(-7 * 24 * time.Hour),
		"":                               {},
		"yesterday":                      {},
		"-1h":                            {},
		"d":                              {},
		"-1d":                            {},
		"1.5d":                           {},
		"99999999d":                      {},
		"2026-01-02":                     {},
		"2026-01-02T03:04:05":            {},
		"9999999999999999999999h":        {},
		"2026-01-02T03:04:05Z and again": {},
	}
	for s, want := range tests {
		got, err := ParseTime(s, now)
		if !got.Equal(want) || (err != nil) != want.IsZero() {
			t.Errorf("%q is %v, %v, want %v", s, got, err, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	unanswered := death(names.MailTrigger)
	unanswered.Last = nil
	if err := Table(&b, []Letter{buried(t, event(), death("welcome")), buried(t, call(), death("redeem")), buried(t, mail(), unanswered)}); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"ID       DIED                  TRIGGER         MESSAGE                   REASON    ATTEMPTS  ANSWER",
		"coop/42  2026-01-02T03:04:05Z  offers/welcome  offers.offer.redeemed.v1  Rejected  1         400",
		"coop/42  2026-01-02T03:04:05Z  offers/redeem   POST /offers              Rejected  1         400",
		"coop/42  2026-01-02T03:04:05Z  offers/_mail    mail                      Rejected  1         -",
		"",
	}, "\n")
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, buried(t, event(), death("welcome")), false); err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"coop/42","namespace":"coop","function":"offers","trigger":"welcome","kind":"event","eventId":"1","eventType":"offers.offer.redeemed.v1",` +
		`"reason":"Rejected","problem":"the function answered 400 Bad Request","attempts":1,"replays":0,` +
		`"first":"2026-01-02T03:03:05Z","died":"2026-01-02T03:04:05Z","lastStatus":400}` + "\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	b.Reset()
	if err := JSON(&b, buried(t, call(), death("redeem")), true); err != nil {
		t.Fatal(err)
	}
	var got Line
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Call != "abc" || got.Content == nil || got.Body != "a body\x1b[2J" || string(got.LastBase64) != "no\xff" || got.LastBody != "" || got.Request.Target != "/offers?key=1" {
		t.Errorf("got %s", b.String())
	}
}

// TestSecrets has no way of showing a letter tell who its caller was.
func TestSecrets(t *testing.T) {
	for _, m := range []*envelope.Message{event(), call()} {
		l := buried(t, m, death("redeem"))
		var b bytes.Buffer
		for _, err := range []error{Table(&b, []Letter{l}), JSON(&b, l, false), JSON(&b, l, true), Details(&b, l)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if text := b.String(); strings.Contains(text, "s3cret") || strings.Contains(text, "Bearer") || !strings.Contains(text, "(redacted)") {
			t.Errorf("it tells:\n%s", text)
		}
	}
}

func TestDetails(t *testing.T) {
	var b bytes.Buffer
	if err := Details(&b, buried(t, call(), death("redeem"))); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for _, want := range []string{
		"id          coop/42\n", "function    coop/offers\n", "trigger     redeem\n", "kind        call\n", "call        abc\n", "reason      Rejected\n",
		"problem     the function answered 400 Bad Request\n", "attempts    1\n", "replays     0\n", "died        2026-01-02T03:04:05Z\n",
		"request     POST /offers?key=1\n", "host        shop.example\n", "header      Accept: */*\n", "header      Authorization: (redacted)\n",
		"body        10 bytes\n", "  a body\uFFFD[2J\n", "answer      400\n", "its body    3 bytes\n  (not text",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it has no %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Error("a terminal would act on it")
	}
	cut := death("redeem")
	cut.Cut, cut.Last = 9, nil
	b.Reset()
	if err := Details(&b, buried(t, call(), cut)); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); !strings.Contains(text, "body        9 bytes, which were not kept\n") || !strings.Contains(text, "answer      none\n") {
		t.Errorf("without its body and an answer:\n%s", text)
	}
}
