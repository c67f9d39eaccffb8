package v1alpha1

// Trigger calls the function: from one source, which is exactly one of http,
// event, schedule, object, keyValue and queue.
//
// +kubebuilder:validation:ExactlyOneOf=http;event;schedule;object;keyValue;queue
// +kubebuilder:validation:XValidation:rule="!has(self.http) || !has(self.path)",message="an http trigger gets the caller's own path: write spec.triggers[].http.path only",fieldPath=".path"
// +kubebuilder:validation:XValidation:rule="!has(self.http) || self.http.async || !has(self.delivery)",message="a synchronous http trigger has no delivery, because nothing is retried: set http.async to true or remove delivery",fieldPath=".delivery"
// +kubebuilder:validation:XValidation:rule="!has(self.http) || !has(self.delivery) || !has(self.delivery.batch)",message="the calls of an http trigger are its callers' requests, and cannot share one: remove batch",fieldPath=".delivery.batch"
// +kubebuilder:validation:XValidation:rule="!has(self.http) && !has(self.schedule) || !has(self.delivery) || !has(self.delivery.orderBy)",message="only events have an attribute to be ordered by, and the calls of http and schedule triggers have not: remove orderBy",fieldPath=".delivery.orderBy"
// +kubebuilder:validation:XValidation:rule="has(self.event) || has(self.keyValue) || has(self.object) || !has(self.delivery) || !has(self.delivery.startFrom)",message="only an event, keyValue or object trigger has a log to start from: remove startFrom",fieldPath=".delivery.startFrom"
// +kubebuilder:validation:XValidation:rule="!(has(self.event) || has(self.keyValue) || has(self.object)) || !(has(oldSelf.event) || has(oldSelf.keyValue) || has(oldSelf.object)) || (has(self.delivery) && has(self.delivery.startFrom) ? self.delivery.startFrom : 'New') == (has(oldSelf.delivery) && has(oldSelf.delivery.startFrom) ? oldSelf.delivery.startFrom : 'New')",message="startFrom is where a new trigger starts and cannot be changed: give the trigger another name",fieldPath=".delivery"
// +kubebuilder:validation:XValidation:rule="!has(self.schedule) || !has(self.delivery) || !has(self.delivery.batch)",message="a schedule has a call for each of its times: remove batch",fieldPath=".delivery.batch"
// +kubebuilder:validation:XValidation:rule="!has(self.schedule) || self.schedule.overlap || !has(self.delivery) || !has(self.delivery.concurrency)",message="without overlap a schedule's calls are made one at a time: set schedule.overlap to true or remove concurrency",fieldPath=".delivery.concurrency"
type Trigger struct {
	// Name of the trigger, unique in the Function.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Name string `json:"name"`
	// Paused stops the calls; what arrives meanwhile waits, and its maxAge counts
	// from the resumption at the earliest. A synchronous request is answered 503.
	// Default: false.
	// +optional
	Paused bool `json:"paused,omitempty"`
	// Path is where the function is POSTed what the source delivers; not for
	// http triggers. Unset: "/".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^(/([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+$")`,message="must be an absolute URL path without a query, such as /events/joined"
	Path string `json:"path,omitempty"`

	// HTTP calls the function for requests to a route.
	// +optional
	HTTP *HTTPSource `json:"http,omitempty"`
	// Event calls the function for events of the namespace's event log.
	// +optional
	Event *EventSource `json:"event,omitempty"`
	// Schedule calls the function at given times.
	// +optional
	Schedule *ScheduleSource `json:"schedule,omitempty"`
	// Object calls the function for changes in an object store, which is made if
	// it is not there.
	// +optional
	Object *ObjectSource `json:"object,omitempty"`
	// KeyValue calls the function for changes in a key-value bucket, which is made
	// if it is not there.
	// +optional
	KeyValue *KeyValueSource `json:"keyValue,omitempty"`
	// Queue calls the function for messages of a queue. One trigger has all
	// messages of a queue.
	// +optional
	Queue *QueueSource `json:"queue,omitempty"`

	// Delivery says how calls are retried and bounded; not for synchronous http
	// triggers. Unset: the defaults of its fields.
	// +optional
	Delivery *Delivery `json:"delivery,omitempty"`
}

// HTTPSource is a route at the public door. Routes match as net/http's ServeMux
// does, without its redirects.
type HTTPSource struct {
	// Hosts that the route answers on. Unset: the namespace's host.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=10
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")`,message="must be a lower-case host name without a port, such as shop.example.com"
	Hosts []string `json:"hosts,omitempty"`
	// Methods that the route answers. Unset: every method.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=7
	// +kubebuilder:validation:items:Enum=GET;HEAD;POST;PUT;PATCH;DELETE;OPTIONS
	Methods []string `json:"methods,omitempty"`
	// Path is a ServeMux path pattern: {name} stands for one segment, {name...}
	// at the end for the rest of the path, {$} at the end for nothing more, and
	// a final "/" for every path below.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=160
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^(/(([A-Za-z0-9._~!$&'()*+,;=:@-]|%2[0-9A-Ca-c]|%3[A-Fa-f]|%40|%5[B-Eb-e]|%60|%7[B-Db-d]|%[89A-Fa-f][0-9A-Fa-f])+|[{][A-Za-z_][A-Za-z0-9_]*[}]))*(/|/[{][$][}]|/[{][A-Za-z_][A-Za-z0-9_]*[.][.][.][}])?$") && !self.matches(r"/[.][.]?(/|$)")`,message="must be a path pattern: segments such as /members/{number}; {name...} and {$} only as the last segment; no empty segment, no '.' or '..', no query"
	// +kubebuilder:validation:XValidation:rule=`self.lowerAscii().findAll("[{][a-z0-9_]+[}]").all(p, self.lowerAscii().split(p).size() == 2) && (!self.contains("...}") || !self.lowerAscii().contains(self.lowerAscii().find("[{][a-z0-9_]+[.]").replace(".", "}")))`,message="every parameter of a path needs a name of its own, whatever its case"
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r"^/(calls(/|$)|(healthz|readyz)$)")`,message="/calls, /healthz and /readyz belong to the platform: choose another path"
	Path string `json:"path"`
	// Async answers the caller 202 as soon as the request is stored, and calls
	// the function later.
	// +optional
	// +kubebuilder:default=false
	Async bool `json:"async,omitempty"`
}

// EventSource is a selection of the namespace's event log.
type EventSource struct {
	// Types are the event types wanted; a last token "*" stands for one or more tokens.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=200
	// +kubebuilder:validation:items:XValidation:rule=`self.matches(r"^([A-Za-z0-9_-]+[.])*([A-Za-z0-9_-]+|[*])$")`,message="must be an event type: dot-separated tokens of letters, digits, '_' and '-', such as offers.offer.redeemed.v1; only the last token may be *"
	Types []string `json:"types"`
	// Filters must all let the event pass. Unset: every event of the types.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Filters []Filter `json:"filters,omitempty"`
}

// MissedPolicy says what happens to times whose call could not begin within a
// minute.
//
// +kubebuilder:validation:Enum=Once;Skip
type MissedPolicy string

const (
	// MissedOnce makes one call, for the latest of the times that were missed.
	MissedOnce MissedPolicy = "Once"
	// MissedSkip makes no call for times that were missed.
	MissedSkip MissedPolicy = "Skip"
)

// ScheduleSource is a clock.
//
// +kubebuilder:validation:XValidation:rule=`!has(self.timeZone) || !self.cron.startsWith("@every ")`,message="@every counts from when it was set, whatever a clock shows: remove timeZone",fieldPath=".timeZone"
type ScheduleSource struct {
	// Cron is five fields (minute, hour, day of month, month, day of week), six
	// with the second first, or "@every" and an interval from 1s to 8760h. Sunday
	// is 0 or 7; a day counts when either of two given day fields says so.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=100
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^(@every ([0-9]{1,6}([.][0-9]{1,9})?(ms|s|m|h))+|([0-9A-Za-z*?][0-9A-Za-z*?,/-]* +){4,5}[0-9A-Za-z*?][0-9A-Za-z*?,/-]*)$")`,message="must be five cron fields (minute, hour, day of month, month, day of week), six with the second first, or @every and a duration: '30 2 * * *', '@every 90s'"
	// +kubebuilder:validation:XValidation:rule=`!self.matches(r"^@every ([0-9]{1,6}([.][0-9]{1,9})?(ms|s|m|h))+$") || duration(self.substring(7)) >= duration("1s") && duration(self.substring(7)) <= duration("8760h")`,message="an interval must be from 1s to 8760h"
	Cron string `json:"cron"`
	// TimeZone is the IANA name of the zone that cron is read in. Unset: UTC.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z][A-Za-z0-9_+-]*){0,2}$") && self != "Local"`,message="must be an IANA time zone such as Europe/London"
	TimeZone string `json:"timeZone,omitempty"`
	// Missed says what happens to times whose call could not begin within a minute.
	// +optional
	// +kubebuilder:default=Once
	Missed MissedPolicy `json:"missed,omitempty"`
	// Overlap allows a call to start while the one before still runs; they are as
	// many at once as delivery.concurrency says.
	// +optional
	// +kubebuilder:default=false
	Overlap bool `json:"overlap,omitempty"`
}

// ObjectSource is the changes in an object store: objects that are put and deleted.
type ObjectSource struct {
	// Store is the store's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Store string `json:"store"`
	// Keys is a pattern of object names, such as *.csv: ? stands for one character
	// and * for any number of them, none of which is a '/'; ** also for '/'. Unset:
	// every object.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Keys string `json:"keys,omitempty"`
}

// KeyValueSource is the changes in a key-value bucket: keys that are put, deleted
// and expire.
type KeyValueSource struct {
	// Bucket is the bucket's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Bucket string `json:"bucket"`
	// Keys is a key, or a pattern of keys, such as allocation.>: a token "*" stands
	// for one token, and a last token ">" for one or more. Unset: every key.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^(([-/_=A-Za-z0-9]+|[*])[.])*([-/_=A-Za-z0-9]+|[*]|>)$")`,message="must be a key or a pattern of keys: dot-separated tokens of letters, digits, '-', '/', '_' and '=', such as allocation.>; a token may be *, which stands for one, and the last may be >, which stands for one or more"
	Keys string `json:"keys,omitempty"`
}

// QueueSource is the messages of a queue, which functions with a binding send to.
type QueueSource struct {
	// Name of the queue.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:XValidation:rule=`self.matches(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")`,message="must be lower-case letters, digits and '-', starting and ending with a letter or a digit"
	Name string `json:"name"`
}
