package wiring

import (
	"net"
	"strings"
	"time"

	"github.com/serviceful/serviceful/operator/api/v1alpha1"
	"github.com/serviceful/serviceful/operator/internal/delivery"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/route"
	"github.com/serviceful/serviceful/operator/internal/schedule"
)

// Snapshot is how a set of Functions is wired. It is never changed, so any
// number of readers may share it without a lock.
type Snapshot struct {
	Functions     map[names.Function]*Function
	Subscriptions []*Subscription // ordered by stream, then consumer
	Problems      []Problem       // ordered like the Functions they are about

	claimed []*Route                        // oldest first
	routes  map[string]*route.Table[*Route] // by host
	anyHost *route.Table[*Route]            // what answers where no host does; nil: nothing
	owners  map[string]string               // host -> namespace
}

// Function is what one Function may do, and how it is called.
type Function struct {
	Name    names.Function
	Emits   []string        // patterns of event types
	Buckets Grants          // by bucket
	Stores  Grants          // by object store
	Queues  map[string]bool // it may send to
	Calls   map[string]bool // functions of its namespace, also such that do not exist
	Mail    bool
	Timeout time.Duration // of a call of it
}

// MayEmit reports whether the function may publish events of a type.
func (f *Function) MayEmit(eventType string) bool {
	for _, p := range f.Emits {
		if names.MatchEventType(p, eventType) {
			return true
		}
	}
	return false
}

// Grants are the services of one kind that a function may use, by name.
type Grants map[string]v1alpha1.Access

// MayRead reports whether what is named may be read.
func (g Grants) MayRead(name string) bool {
	_, ok := g[name]
	return ok
}

// MayWrite reports whether what is named may be changed.
func (g Grants) MayWrite(name string) bool { return g[name] == v1alpha1.AccessReadWrite }

// Route is an HTTP trigger.
type Route struct {
	Function names.Function
	Trigger  string
	Path     string
	Methods  []string // empty: any
	Async    bool
	Paused   bool // a synchronous one answers that it is
	Timeout  time.Duration
}

// Subscription is an asynchronous trigger, or a relay of a namespace, of its mail,
// of its retries or of the changes of a bucket or store: what one durable consumer
// feeds.
type Subscription struct {
	Function    names.Function // its Name is "" for a relay
	Trigger     string
	Types       []string           // of an event trigger: its patterns, none covered by another
	Bucket      string             // of a keyValue trigger, and of the relay of a bucket's changes
	Store       string             // of an object trigger, and of the relay of a store's changes
	Queue       string             // of a queue trigger
	Schedule    *schedule.Schedule // of a schedule trigger; never due while it cannot be read
	SkipMissed  bool               // of a schedule trigger: times that were missed are not called for
	Path        string             // where an event is POSTed
	Stream      string
	Consumer    string
	Filters     []string // subjects: the source's, and of the event log those for it alone
	Concurrency int      // calls in flight over all dispatchers; InFlight says how many messages
	OrderBy     string   // the attribute whose equal values are called in order; "": no order
	Batch       Batch
	OnSuccess   Destination
	OnFailure   Destination
	Policy      delivery.Policy
	Match       func(*event.Event) bool // nil: every event
	Start       Start                   // of a trigger of the event log
	Paused      bool                    // the consumer hands nothing out
	Held        bool                    // it keeps its messages and is not called
}

// Start is where a new trigger starts in the event log; zero: with what comes.
type Start struct {
	All  bool      // with all that is there
	Time time.Time // with what was stored then or later
}

// Relays reports whether the subscription is a relay to the event log, of changes or
// of retries.
func (s *Subscription) Relays() bool {
	return s.RelaysChanges() || s.Policy.Source == delivery.DueRetry
}

// RelaysChanges reports whether the subscription is the relay of a bucket's or a
// store's changes.
func (s *Subscription) RelaysChanges() bool { return s.Policy.Source == delivery.Change }

// Watched is the stream of the bucket or store whose changes a trigger hears of; ""
// for another subscription.
func (s *Subscription) Watched() string {
	switch {
	case s.Relays():
		return ""
	case s.Bucket != "":
		return names.BucketStream(s.Function.Namespace, s.Bucket)
	case s.Store != "":
		return names.StoreStream(s.Function.Namespace, s.Store)
	}
	return ""
}

// Batch is how events share calls; zero: each has one of its own.
type Batch struct {
	Size   int           // the most events of a call
	Window time.Duration // how long the first waits for others
}

// Destination is where outcomes go: an event type or a queue; zero: nowhere.
type Destination struct{ EventType, Queue string }

// maxInFlight bounds the messages that a trigger with batches has in flight, however
// many calls it may have.
const maxInFlight = 32768

// heldInOrder is how many messages an ordered trigger has in flight: to be called,
// or to wait for one of their value. Then the trigger waits.
const heldInOrder = 10_000

// InFlight is how many messages may be in flight over all dispatchers: as many as
// fill all calls.
func (s *Subscription) InFlight() int {
	if s.OrderBy != "" { // its dispatcher counts the calls
		return heldInOrder
	}
	return max(s.Concurrency, min(s.Concurrency*s.Batch.Size, maxInFlight))
}

// Key names a subscription in its stream's namespace.
func (s *Subscription) Key() string { return s.Stream + "/" + s.Consumer }

// Problem is what only the whole set of Functions shows.
type Problem struct {
	Function names.Function
	Trigger  string // "" where it is about the whole Function
	Field    string // what is to be mended, such as spec.triggers[0].http.path
	Reason   string // one of the api's reasons
	Message  string // one sentence that a person can act on
}

// String is "function <namespace>/<name>, trigger <trigger>: <message>".
func (p Problem) String() string {
	at := "function " + p.Function.String()
	if p.Trigger != "" {
		at += ", trigger " + p.Trigger
	}
	return at + ": " + p.Message
}

// Match finds the route for a request: host as in the Host header, the path
// percent-encoded as it came.
func (s *Snapshot) Match(host, method, escapedPath string) (*Route, []route.Param, bool) {
	t := s.table(host)
	if t == nil {
		return nil, nil, false
	}
	return t.Match(method, escapedPath)
}

// Allowed is the methods that some route takes on a host and path.
func (s *Snapshot) Allowed(host, escapedPath string) []string {
	if t := s.table(host); t != nil {
		return t.Allowed(escapedPath)
	}
	return nil
}

func (s *Snapshot) table(host string) *route.Table[*Route] {
	if t, ok := s.routes[hostname(host)]; ok {
		return t
	}
	return s.anyHost
}

// hostname is the name in a Host header, as the snapshot spells it.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(host)
}

// OwnerOf is the namespace that answers on a host. On the laptop, where a host is
// nobody's, everyone answers there.
func (s *Snapshot) OwnerOf(host string) (namespace string, everyone bool) {
	owner, ok := s.owners[hostname(host)]
	return owner, !ok && s.anyHost != nil
}

// Routes are all that answer on some host, oldest first.
func (s *Snapshot) Routes() []*Route { return s.claimed }

// Namespaces are those that have a Function, unordered.
func (s *Snapshot) Namespaces() map[string]bool {
	out := map[string]bool{}
	for name := range s.Functions {
		out[name.Namespace] = true
	}
	return out
}
