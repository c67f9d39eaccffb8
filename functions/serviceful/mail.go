package serviceful

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Mail is one message. The platform knows the sender.
type Mail struct {
	To      []string `json:"to"`
	Subject string   `json:"subject"`
	Text    string   `json:"text,omitempty"`
	HTML    string   `json:"html,omitempty"`
}

// Mail hands over one mail; it is stored when Mail returns. The same idempotencyKey within 24 hours is the same mail and is stored
// once; with another content it is ErrKeyReused and the first mail stands.
func (c *Client) Mail(ctx context.Context, idempotencyKey string, mail Mail) error {
	body, err := json.Marshal(mail)
	if err != nil {
		return fmt.Errorf("encoding the mail: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {idempotencyKey}}
	_, _, err = c.call(ctx, http.MethodPost, c.config.URL+"/v1/mail", header, body)
	return err
}
