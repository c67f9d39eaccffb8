package names

import (
	"encoding/base64"
	"strings"
)

// EventSubject is where an event of the given type is stored.
func EventSubject(namespace, eventType string) string {
	return "ev." + namespace + "." + eventType
}

// EventFilter is the subject filter for an event type or a pattern such as
// "offers.*", whose last token stands for one or more tokens.
func EventFilter(namespace, pattern string) string {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return "ev." + namespace + "." + prefix + ">"
	}
	return EventSubject(namespace, pattern)
}

// EventSubjects are all subjects of the stream Events(namespace).
func EventSubjects(namespace string) []string {
	return []string{"ev." + namespace + ".>", "evchange." + namespace + ".>", "evretry." + namespace + ".>"}
}

// RetrySubjects are all subjects of the stream Retries(namespace).
func RetrySubjects(namespace string) []string {
	return []string{DueFilter(namespace), "evsched." + namespace + ".>"}
}

// KeyChanges is where the changes of a bucket's keys are stored as events. keys is
// a key, or a pattern of keys in which "*" stands for one token and a last ">" for
// one or more.
func KeyChanges(namespace, bucket, keys string) string {
	return "evchange." + namespace + ".key." + bucket + "." + keys
}

// ObjectChange is where the changes of an object are stored as events.
func ObjectChange(namespace, store, name string) string {
	return objectChanges(namespace, store, base64.URLEncoding.EncodeToString([]byte(name)))
}

// ObjectChanges matches ObjectChange for every name.
func ObjectChanges(namespace, store string) string { return objectChanges(namespace, store, "*") }

func objectChanges(namespace, store, token string) string {
	return "evchange." + namespace + ".object." + store + "." + token
}

// WorkSubjects are all subjects of the stream Work(namespace).
func WorkSubjects(namespace string) []string {
	return []string{"work." + namespace + ".>", "worksched." + namespace + ".>"}
}

// ResultSubjects are all subjects of the stream Results(namespace).
func ResultSubjects(namespace string) []string {
	return []string{"res." + namespace + ".>", "idem." + namespace + ".>", "claim." + namespace + ".>"}
}

// EventRetry is where the event log holds copies of events for one trigger alone:
// they are delivered to it again.
func EventRetry(f Function, trigger string) string {
	return "evretry." + f.Namespace + "." + f.Name + "." + trigger
}

// EventDue is where the copy of an event that was put off is stored when it is due,
// on its way to EventRetry.
func EventDue(f Function, trigger string) string {
	return "evdue." + f.Namespace + "." + f.Name + "." + trigger
}

// Returned is the EventRetry of an EventDue.
func Returned(due string) string { return "evretry." + strings.TrimPrefix(due, "evdue.") }

// DueFilter matches every EventDue of a namespace.
func DueFilter(namespace string) string { return "evdue." + namespace + ".>" }

// ParseEventDue is the inverse of EventDue.
func ParseEventDue(subject string) (f Function, trigger string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 4 || t[0] != "evdue" {
		return Function{}, "", false
	}
	return Function{t[1], t[2]}, t[3], true
}

// Call is where a stored HTTP call waits.
func Call(f Function, trigger, id string) string {
	return "work." + f.Namespace + ".call." + f.Name + "." + trigger + "." + id
}

// CallFilter matches Call for every id.
func CallFilter(f Function, trigger string) string { return Call(f, trigger, "*") }

// AnyCall matches the call with an id, whatever its function and trigger.
func AnyCall(namespace, id string) string {
	return Call(Function{Namespace: namespace, Name: "*"}, "*", id)
}

// Mail is where a mail of a function waits for the relay.
func Mail(f Function, id string) string {
	return "work." + f.Namespace + ".mail." + f.Name + "." + id
}

// MailFilter matches every mail of a namespace.
func MailFilter(namespace string) string { return "work." + namespace + ".mail.>" }

// QueueMessage is where a message of a queue waits for the queue's trigger.
func QueueMessage(namespace, queue, id string) string {
	return "work." + namespace + ".queue." + queue + "." + id
}

// QueueFilter matches QueueMessage for every id.
func QueueFilter(namespace, queue string) string { return QueueMessage(namespace, queue, "*") }

// Clock is where the schedule of a trigger is kept, which the server stores a
// message by on Tick whenever it is due.
func Clock(f Function, trigger string) string {
	return "worksched." + f.Namespace + ".clock." + f.Name + "." + trigger
}

// tick is the last token of Tick, where that of a put off message has its origin.
const tick = "tick"

// Tick is where a trigger's schedule has a message stored when it is due.
func Tick(f Function, trigger string) string { return tickSubject(f, trigger, tick) }

// TickFilter matches Tick and the messages of the schedule that were put off.
func TickFilter(f Function, trigger string) string { return tickSubject(f, trigger, "*") }

func tickSubject(f Function, trigger, token string) string {
	return "work." + f.Namespace + ".cron." + f.Name + "." + trigger + "." + token
}

// ParseClock is the inverse of Clock.
func ParseClock(subject string) (f Function, trigger string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 5 || t[0] != "worksched" || t[2] != "clock" {
		return Function{}, "", false
	}
	return Function{t[1], t[3]}, t[4], true
}

// ParseTick reads the subject of a schedule's message, also of one that was put
// off.
func ParseTick(subject string) (f Function, trigger string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 6 || t[0] != "work" || t[2] != "cron" {
		return Function{}, "", false
	}
	return Function{t[1], t[3]}, t[4], true
}

// Again is the subject on which a message that is put off is due, given the one it
// came on: what was accepted for the trigger alone keeps its place, and a copy of an
// event, which others get as well, has one with those of its trigger. origin is what
// the message was at first.
func Again(subject string, f Function, trigger, origin string) string {
	if _, _, ok := ParseTick(subject); ok {
		return tickSubject(f, trigger, origin)
	}
	if strings.HasPrefix(subject, "work.") {
		return subject
	}
	return EventDue(f, trigger)
}

// MailboxSubject is where the laptop keeps a mail that was handed over.
func MailboxSubject(namespace, id string) string { return "mailbox." + namespace + "." + id }

// Schedule is the subject of the work stream that holds a message until it is due,
// given the subject it is due on: "work." becomes "worksched.".
func Schedule(target string) string {
	return "worksched." + strings.TrimPrefix(target, "work.")
}

// Schedules matches every Schedule of a namespace.
func Schedules(namespace string) string { return "worksched." + namespace + ".>" }

// Waiting is the subject that holds a message until it is due on target: Schedule of
// it, or for the copy of an event "evsched." for "evdue." and its origin, since many
// are due on one target.
func Waiting(target, origin string) string {
	if rest, ok := strings.CutPrefix(target, "evdue."); ok {
		return "evsched." + rest + "." + origin
	}
	return Schedule(target)
}

// DeadSubject is where a trigger's dead letters are kept.
func DeadSubject(f Function, trigger string) string {
	return "dead." + f.Namespace + "." + f.Name + "." + trigger
}

// ParseDead is the inverse of DeadSubject.
func ParseDead(subject string) (f Function, trigger string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 4 || t[0] != "dead" {
		return Function{}, "", false
	}
	return Function{t[1], t[2]}, t[3], true
}

// Result is where the result of a call is kept.
func Result(namespace, id string) string { return "res." + namespace + "." + id }

// Idempotency is where the record of an Idempotency-Key is kept. The scope
// parts what may use equal keys (a trigger, a function's mail); hash is a
// subject token made from the key.
func Idempotency(f Function, scope, hash string) string {
	return "idem." + f.Namespace + "." + f.Name + "." + scope + "." + hash
}

// Claim is where it is kept which dispatcher calls an ordered trigger.
func Claim(f Function, trigger string) string {
	return "claim." + f.Namespace + "." + f.Name + "." + trigger
}

// WorkItem is what the subject of a stored call, a mail or a queue's message
// says.
type WorkItem struct {
	Function Function // without a Name for a queue's message, which is no function's
	Trigger  string   // "" for all but a call
	Queue    string   // "" for all but a queue's message
	ID       string
}

// ParseWork reads a subject made by Call, Mail or QueueMessage.
func ParseWork(subject string) (WorkItem, bool) {
	if !strings.HasPrefix(subject, "work.") {
		return WorkItem{}, false
	}
	t := strings.Split(subject, ".")
	switch {
	case len(t) == 6 && t[2] == "call":
		return WorkItem{Function: Function{t[1], t[3]}, Trigger: t[4], ID: t[5]}, true
	case len(t) == 5 && t[2] == "mail":
		return WorkItem{Function: Function{t[1], t[3]}, ID: t[4]}, true
	case len(t) == 5 && t[2] == "queue":
		return WorkItem{Function: Function{Namespace: t[1]}, Queue: t[3], ID: t[4]}, true
	}
	return WorkItem{}, false
}

// DueOrPutOff is a filter for a subject and for that of its schedule.
func DueOrPutOff(subject string) string {
	_, rest, _ := strings.Cut(subject, ".")
	return "*." + rest
}

// Unschedule is the inverse of Waiting; any other subject stays as it is.
func Unschedule(subject string) string {
	if rest, ok := strings.CutPrefix(subject, "evsched."); ok {
		return "evdue." + rest[:max(0, strings.LastIndexByte(rest, '.'))]
	}
	if rest, ok := strings.CutPrefix(subject, "worksched."); ok {
		return "work." + rest
	}
	return subject
}
