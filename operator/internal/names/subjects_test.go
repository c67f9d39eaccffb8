package names

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var offers = Function{Namespace: "coop", Name: "offers"}

func TestSubjects(t *testing.T) {
	tests := map[string]struct{ got, want string }{
		"event":               {EventSubject("coop", "offers.offer.redeemed.v1"), "ev.coop.offers.offer.redeemed.v1"},
		"filter of a type":    {EventFilter("coop", "offers.offer"), "ev.coop.offers.offer"},
		"filter of a prefix":  {EventFilter("coop", "offers.*"), "ev.coop.offers.>"},
		"filter of all":       {EventFilter("coop", "*"), "ev.coop.>"},
		"retry":               {EventRetry(offers, "welcome"), "evretry.coop.offers.welcome"},
		"retry that is due":   {EventDue(offers, "welcome"), "evdue.coop.offers.welcome"},
		"retry, returned":     {Returned(EventDue(offers, "welcome")), EventRetry(offers, "welcome")},
		"scheduled retry":     {Waiting(EventDue(offers, "welcome"), "42"), "evsched.coop.offers.welcome.42"},
		"call":                {Call(offers, "redeem", "id"), "work.coop.call.offers.redeem.id"},
		"calls":               {CallFilter(offers, "redeem"), "work.coop.call.offers.redeem.*"},
		"a call of any":       {AnyCall("coop", "id"), "work.coop.call.*.*.id"},
		"scheduled call":      {Schedule(Call(offers, "redeem", "id")), "worksched.coop.call.offers.redeem.id"},
		"a call that waits":   {Waiting(Call(offers, "redeem", "id"), "id"), "worksched.coop.call.offers.redeem.id"},
		"mail":                {Mail(offers, "id"), "work.coop.mail.offers.id"},
		"mails":               {MailFilter("coop"), "work.coop.mail.>"},
		"queue's message":     {QueueMessage("coop", "resize", "id"), "work.coop.queue.resize.id"},
		"queue's messages":    {QueueFilter("coop", "resize"), "work.coop.queue.resize.*"},
		"later message":       {Schedule(QueueMessage("coop", "resize", "id")), "worksched.coop.queue.resize.id"},
		"schedule":            {Clock(offers, "nightly"), "worksched.coop.clock.offers.nightly"},
		"scheduled time":      {Tick(offers, "nightly"), "work.coop.cron.offers.nightly.tick"},
		"scheduled times":     {TickFilter(offers, "nightly"), "work.coop.cron.offers.nightly.*"},
		"time put off":        {Schedule(Again(Tick(offers, "nightly"), offers, "nightly", "42")), "worksched.coop.cron.offers.nightly.42"},
		"changes of a key":    {KeyChanges("coop", "offers", "a.b"), "evchange.coop.key.offers.a.b"},
		"changes of keys":     {KeyChanges("coop", "offers", "a.>"), "evchange.coop.key.offers.a.>"},
		"change of an object": {ObjectChange("coop", "files", "a/b.csv"), "evchange.coop.object.files.YS9iLmNzdg=="},
		"changes of objects":  {ObjectChanges("coop", "files"), "evchange.coop.object.files.*"},
		"content":             {ObjectChunks("coop", "files", "X1"), "$O.coop_files.C.X1"},
		"object":              {ObjectInfo("coop", "files", "a/b.csv"), "$O.coop_files.M.YS9iLmNzdg=="},
		"objects":             {ObjectInfoFilter("coop", "files"), "$O.coop_files.M.*"},
		"mailbox":             {MailboxSubject("coop", "id"), "mailbox.coop.id"},
		"dead letter":         {DeadSubject(offers, "redeem"), "dead.coop.offers.redeem"},
		"result":              {Result("coop", "id"), "res.coop.id"},
		"claim":               {Claim(offers, "welcome"), "claim.coop.offers.welcome"},
		"idempotency":         {Idempotency(offers, "redeem", "hash"), "idem.coop.offers.redeem.hash"},
		"stream of events":    {Events("coop"), "EV_coop"},
		"stream of retries":   {Retries("coop"), "RETRY_coop"},
		"stream of work":      {Work("coop"), "WORK_coop"},
		"stream of the dead":  {Dead("coop"), "DEAD_coop"},
		"stream of results":   {Results("coop"), "RES_coop"},
		"stream of a mailbox": {Mailbox("coop"), "MAILBOX_coop"},
		"bucket":              {Bucket("coop", "offers"), "coop_offers"},
		"stream of a bucket":  {BucketStream("coop", "offers"), "KV_coop_offers"},
		"store":               {Store("coop", "files"), "coop_files"},
		"stream of a store":   {StoreStream("coop", "files"), "OBJ_coop_files"},
		"scope of a queue":    {QueueScope("resize"), "_queue_resize"},
		"consumer":            {Consumer("offers", "redeem"), "offers_redeem"},
		"function":            {offers.String(), "coop/offers"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("got %q, want %q", test.got, test.want)
			}
		})
	}
}

func TestParseWork(t *testing.T) {
	tests := map[string]struct {
		subject string
		want    WorkItem
		ok      bool
	}{
		"call":        {Call(offers, "redeem", "id"), WorkItem{Function: offers, Trigger: "redeem", ID: "id"}, true},
		"mail":        {Mail(offers, "id"), WorkItem{Function: offers, ID: "id"}, true},
		"queue":       {QueueMessage("coop", "resize", "id"), WorkItem{Function: Function{Namespace: "coop"}, Queue: "resize", ID: "id"}, true},
		"event":       {EventSubject("coop", "a.b.c.d"), WorkItem{}, false},
		"retry":       {EventRetry(offers, "welcome"), WorkItem{}, false},
		"scheduled":   {Schedule(Call(offers, "redeem", "id")), WorkItem{}, false},
		"too short":   {"work.coop.call.offers.redeem", WorkItem{}, false},
		"too long":    {"work.coop.mail.offers.id.more", WorkItem{}, false},
		"other work":  {"work.coop.stack.resize.id", WorkItem{}, false},
		"nothing":     {"", WorkItem{}, false},
		"other words": {"wrk.coop.call.offers.redeem.id", WorkItem{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := ParseWork(test.subject); got != test.want || ok != test.ok {
				t.Errorf("ParseWork(%q) = %v, %v, want %v, %v", test.subject, got, ok, test.want, test.ok)
			}
		})
	}
}

func TestParseStreamsAndConsumers(t *testing.T) {
	if f, trigger, ok := ParseConsumer(Consumer("my-offers", "re-deem")); f != "my-offers" || trigger != "re-deem" || !ok {
		t.Errorf("a consumer came back as %q, %q, %v", f, trigger, ok)
	}
	if _, _, ok := ParseConsumer(MailConsumer); ok {
		t.Error("the mail relay's consumer looks like a trigger's")
	}
	if ns, store, ok := ParseStoreStream(StoreStream("coop", "my-files")); ns != "coop" || store != "my-files" || !ok {
		t.Errorf("a store came back as %q, %q, %v", ns, store, ok)
	}
	if ns, bucket, ok := ParseBucketStream(BucketStream("coop", "my-keys")); ns != "coop" || bucket != "my-keys" || !ok {
		t.Errorf("a bucket's stream came back as %q, %q, %v", ns, bucket, ok)
	}
	if _, _, ok := ParseBucketStream(StoreStream("coop", "files")); ok {
		t.Error("a store's stream was taken for a bucket's")
	}
	if _, _, ok := ParseStoreStream(BucketStream("coop", "files")); ok {
		t.Error("a bucket looks like a store")
	}
	if ns, ok := ParseEvents(Events("coop")); ns != "coop" || !ok {
		t.Errorf("a stream came back as %q, %v", ns, ok)
	}
	if _, ok := ParseEvents(Work("coop")); ok {
		t.Error("the work stream looks like an event log")
	}
}

// TestRandomNames makes subjects of random valid names: each is plain, belongs
// to one stream only, and is selected by its own filters alone.
func TestRandomNames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		f, trigger, id := Function{label(r), label(r)}, label(r), fmt.Sprint(r.Uint64())
		other := Function{f.Namespace + "x", f.Name}
		ns, typ := f.Namespace, label(r)+"._-"+strings.ToUpper(label(r))
		call, mail, retry, due, queued := Call(f, trigger, id), Mail(f, id), EventRetry(f, trigger), EventDue(f, trigger), QueueMessage(ns, f.Name, id)
		streams := slices.Concat(EventSubjects(ns), RetrySubjects(ns), WorkSubjects(ns), ResultSubjects(ns), EventSubjects(other.Namespace),
			RetrySubjects(other.Namespace), WorkSubjects(other.Namespace), ObjectSubjects(ns, f.Name), ObjectSubjects(other.Namespace, f.Name), []string{"mailbox." + ns + ".>", "dead." + ns + ".>"})
		for _, s := range []string{
			EventSubject(ns, typ), retry, due, call, mail, queued, Waiting(due, id), Schedule(call), Schedule(mail), Schedule(queued),
			ObjectChunks(ns, f.Name, id), ObjectInfo(ns, f.Name, label(r)),
			MailboxSubject(ns, id), DeadSubject(f, trigger), Result(ns, id), Idempotency(f, trigger, id),
		} {
			if got := selecting(streams, s); !plain(s) || len(got) != 1 {
				t.Errorf("%q is not plain, or its streams are %q", s, got)
			}
		}
		filters := []string{
			CallFilter(other, trigger), MailFilter(other.Namespace), EventRetry(other, trigger), EventFilter(other.Namespace, "*"),
			CallFilter(f, trigger), AnyCall(ns, id), MailFilter(ns), EventRetry(f, trigger), EventFilter(ns, typ),
			QueueFilter(ns, f.Name), QueueFilter(other.Namespace, f.Name), QueueFilter(ns, f.Name+"x"), DueFilter(ns), DueFilter(other.Namespace),
		}
		for s, want := range map[string][]string{call: filters[4:6], mail: filters[6:7], retry: filters[7:8], EventSubject(ns, typ): filters[8:9], queued: filters[9:10], due: filters[12:13]} {
			if got := selecting(filters, s); !slices.Equal(got, want) {
				t.Errorf("%q is selected by %q, want %q", s, got, want)
			}
		}
		for _, s := range []string{call, mail, due, queued} {
			if got := Unschedule(Waiting(s, id)); got != s || Unschedule(s) != s {
				t.Errorf("%q came back from its schedule as %q", s, got)
			}
		}
		if item, ok := ParseWork(call); !ok || item != (WorkItem{Function: f, Trigger: trigger, ID: id}) {
			t.Errorf("%q came back as %v", call, item)
		}
		if g, trg, ok := ParseEventDue(due); !ok || g != f || trg != trigger || Returned(due) != retry {
			t.Errorf("%q came back as %v, %q, and returns as %q", due, g, trg, Returned(due))
		}
		if item, ok := ParseWork(queued); !ok || item != (WorkItem{Function: Function{Namespace: ns}, Queue: f.Name, ID: id}) {
			t.Errorf("%q came back as %v", queued, item)
		}
		if name, trg, ok := ParseConsumer(Consumer(f.Name, trigger)); !ok || name != f.Name || trg != trigger {
			t.Errorf("%q came back as %q, %q", Consumer(f.Name, trigger), name, trg)
		}
	}
}

// label is a random DNS label: a namespace, a function or a trigger.
func label(r *rand.Rand) string {
	b := []byte{byte('a' + r.IntN(26))}
	for range r.IntN(6) {
		b = append(b, "abz019-"[r.IntN(7)])
	}
	return string(append(b, byte('a'+r.IntN(26))))
}

// plain reports whether s can be published to: no spaces, wildcards or empty
// tokens.
func plain(s string) bool {
	tokens := strings.Split(s, ".")
	return !strings.ContainsAny(s, " \t\r\n*>") && !slices.Contains(tokens, "")
}

func selecting(filters []string, subject string) (out []string) {
	for _, f := range filters {
		if matches(f, subject) {
			out = append(out, f)
		}
	}
	return out
}

// TestAgain has what was accepted for one trigger keep its place, and what others
// get as well have one of its own, however often it is put off.
func TestAgain(t *testing.T) {
	tests := map[string]struct{ subject, want string }{
		"event":           {EventSubject("coop", "offers.made"), EventDue(offers, "welcome")},
		"change of a key": {KeyChanges("coop", "offers", "a.b"), EventDue(offers, "welcome")},
		"change of one":   {ObjectChange("coop", "files", "a.csv"), EventDue(offers, "welcome")},
		"call":            {Call(offers, "welcome", "id"), Call(offers, "welcome", "id")},
		"mail":            {Mail(offers, "id"), Mail(offers, "id")},
		"queue's message": {QueueMessage("coop", "resize", "id"), QueueMessage("coop", "resize", "id")},
		"scheduled time":  {Tick(offers, "welcome"), "work.coop.cron.offers.welcome.7"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Again(test.subject, offers, "welcome", "7")
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if twice := Again(got, offers, "welcome", "7"); twice != got || Unschedule(Waiting(got, "7")) != got {
				t.Errorf("put off again it is on %q, and from its schedule on %q", twice, Unschedule(Waiting(got, "7")))
			}
		})
	}
}

func TestParseTick(t *testing.T) {
	for subject, want := range map[string]bool{
		Tick(offers, "nightly"):                                true,
		Again(Tick(offers, "nightly"), offers, "nightly", "7"): true,
		Schedule(Tick(offers, "nightly")):                      false, // it is not due
		Clock(offers, "nightly"):                               false,
		Call(offers, "cron", "7"):                              false,
		QueueMessage("coop", "cron", "7"):                      false,
	} {
		if _, _, got := ParseTick(subject); got != want {
			t.Errorf("ParseTick(%q) = %v", subject, got)
		}
		if _, ok := ParseWork(subject); ok && want {
			t.Errorf("%q is a call, a mail or a queue's message as well", subject)
		}
	}
}

func TestDueOrPutOff(t *testing.T) {
	f := Function{Namespace: "coop", Name: "offers"}
	for _, subject := range []string{Call(f, "redeem", "1"), Mail(f, "1"), QueueMessage("coop", "resize", "1")} {
		filter := DueOrPutOff(subject)
		if !matches(filter, subject) || !matches(filter, Schedule(subject)) || matches(filter, subject+"2") {
			t.Errorf("%q", filter)
		}
	}
}
