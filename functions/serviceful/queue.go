package serviceful

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Message is what a queue takes.
type Message struct {
	ContentType    string
	Body           []byte
	Delay          time.Duration // before it is due; at most a year
	IdempotencyKey string        // messages with the same one are one message; "" for none
}

// Send stores a message of the queue; it is stored when Send returns. ErrKeyReused when its key was used for another message.
func (c *Client) Send(ctx context.Context, queue string, message Message) error {
	header := http.Header{"Content-Type": {message.ContentType}}
	passOn(ctx, header)
	if message.Delay > 0 {
		header.Set("Serviceful-Delay", message.Delay.String())
	}
	if message.IdempotencyKey != "" {
		header.Set("Idempotency-Key", message.IdempotencyKey)
	}
	_, _, err := c.call(ctx, http.MethodPost, c.config.URL+"/v1/queues/"+url.PathEscape(queue)+"/messages", header, message.Body)
	return err
}
