package services

import (
	"fmt"
	"net/http"
	"time"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/serve"
)

// HeaderDelay is how long a queue keeps a message before it is due, as a Go
// duration such as "90s" or "24h".
const HeaderDelay = "Serviceful-Delay"

// maxDelay is a year.
const maxDelay = 365 * 24 * time.Hour

// QueueMessageType is the type of the event that a queue's message is: its id is
// the message's, its source /queues/<queue>, its data what was sent.
const QueueMessageType = "dev.serviceful.queue.message.v1"

// enqueue stores a message of a queue, in the form of the event that the queue's
// trigger gets: POST /v1/queues/{queue}/messages.
func (d *Door) enqueue(w http.ResponseWriter, r *http.Request, c caller) error {
	name := c.params["queue"]
	if !c.Queues[name] {
		return c.notBound(queueBinding, name)
	}
	contentType, err := mediaType(r.Header)
	if err != nil {
		return err
	}
	delay, err := delayOf(r.Header)
	if err != nil {
		return err
	}
	hops, err := hopsOf(r.Header)
	if err != nil {
		return err
	}
	body, err := serve.ReadBody(w, r, d.cfg.MaxBody, serve.Stall)
	if err != nil {
		return err
	}
	now := time.Now()
	return d.accept(w, r, c, sending{
		scope: names.QueueScope(name),
		same:  func() []byte { return fmt.Appendf(nil, "%s\n%s\n%s", contentType, delay, body) },
		message: func(id string) *envelope.Message {
			e := queueMessage(name, id, contentType, now)
			e.Hops = hops
			m := envelope.New(names.QueueMessage(c.Name.Namespace, name, id), body)
			e.ToStored(m.Header)
			m.ID = "q/" + id
			if delay > 0 {
				m.PutOff(now.Add(delay))
			}
			return m
		},
	})
}

// queueMessage is the attributes of the event that a queue's message is.
func queueMessage(queue, id, contentType string, now time.Time) *event.Event {
	e := event.Own(id, "/queues/"+queue, QueueMessageType, now)
	if contentType != "" {
		e.Set("datacontenttype", contentType)
	}
	return e
}

// delayOf reads Serviceful-Delay.
func delayOf(h http.Header) (time.Duration, error) {
	return durationOf(h, HeaderDelay, "malformed-delay", 0, maxDelay)
}
