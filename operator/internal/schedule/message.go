package schedule

import (
	"encoding/json"
	"fmt"
	"strconv"
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

	// Series is greater with each time that the control plane sets the clock; the
	// times that follow are of the same series. So a changed schedule can be told
	// from the one before, of which times may be under way still.
	Series int64 `json:"-"`
}

// headerSeries is the header of a clock and its times that holds their series.
const headerSeries = "Serviceful-Series"

// Never is when a clock is set to that stands still: later than anything is.
var Never = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// Clock is the message that is a trigger's clock, set to a time: the server stores
// it then on names.Tick, where it is the event of that time. The event is the
// same however often the clock is set to it. The zero time stands for Never.
func Clock(f names.Function, trigger string, to Fired) *envelope.Message {
	if to.Scheduled.IsZero() {
		to.Scheduled = Never
	}
	to.Scheduled = to.Scheduled.UTC()
	data, err := json.Marshal(to)
	if err != nil {
		panic(fmt.Sprintf("schedule: encoding a time: %v", err)) // a year of five digits
	}
	e := event.Own(to.Scheduled.Format(time.RFC3339Nano), names.TriggerPath(f, trigger), EventType, to.Scheduled)
	e.OwnJSON(data, EventType)
	m := envelope.New(names.Tick(f, trigger), data)
	e.ToStored(m.Header)
	m.Header.Set(headerSeries, strconv.FormatInt(to.Series, 10))
	m.PutOff(to.Scheduled)
	m.Subject = names.Clock(f, trigger)
	return m
}

// Read reads which time a message is: a clock, a time that has come, or one that
// was put off.
func Read(m *envelope.Message) (Fired, error) {
	var out Fired
	err := json.Unmarshal(m.Body, &out)
	if err == nil {
		out.Series, err = strconv.ParseInt(m.Header.Get(headerSeries), 10, 64)
	}
	if err != nil {
		return out, fmt.Errorf("reading a schedule's time: %w", err)
	}
	return out, nil
}
