package schedule

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// EventType is the type of the event that a time is. Its data is a Fired.
const EventType = "dev.serviceful.schedule.fired.v1"

// Fired is the data of the event that a time is.
type Fired struct {
	Spec
	Scheduled time.Time `json:"scheduled"` // when it was due, in UTC
}

// Never is when a clock is set to that stands still: later than anything is.
var Never = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock is the message that is a trigger's clock, set to due: the server stores
// it then on names.Tick, where it is the event of that time. The event is the
// same however often the clock is set to it. Where due is zero, it is set to Never.
func Clock(f names.Function, trigger string, spec Spec, due time.Time) *envelope.Message {
	if due.IsZero() {
		due = Never
	}
	due = due.UTC()
	at := due.Format(time.RFC3339Nano)
	data, err := json.Marshal(Fired{spec, due})
	if err != nil {
		panic(fmt.Sprintf("schedule: encoding a time: %v", err)) // a year of five digits
	}
	e := event.Event{Attributes: []event.Attribute{
		{Name: "specversion", Value: "1.0"}, {Name: "id", Value: at}, {Name: "source", Value: "/functions/" + f.Name + "/triggers/" + trigger},
		{Name: "type", Value: EventType}, {Name: "time", Value: at}, {Name: "datacontenttype", Value: "application/json"},
	}}
	m := envelope.New(names.Tick(f, trigger), data)
	e.ToStored(m.Header)
	m.PutOff(due)
	m.Subject = names.Clock(f, trigger)
	return m
}

// Read reads which time a message is: a clock, a time that has come, or one that
// was put off.
func Read(m *envelope.Message) (Fired, error) {
	var out Fired
	if err := json.Unmarshal(m.Body, &out); err != nil {
		return out, fmt.Errorf("reading a schedule's time: %w", err)
	}
	return out, nil
}
