package bus

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/event"
	"github.com/serviceful/serviceful/operator/internal/names"
)

// The headers of an atomic batch (ADR-50).
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
)

// PublishEvents stores valid events in a namespace's log: all or none, except
// that those already stored (same source and id, within the duplicate window)
// stay as they are; where there are such, the rest is stored one by one. It
// returns when the server has said so.
func (b *Bus) PublishEvents(ctx context.Context, namespace string, events []*event.Event) error {
	if len(events) == 1 {
		m := eventMessage(namespace, events[0])
		if b.GroupEvents {
			return b.events(namespace).store(ctx, m)
		}
		_, err := b.Store(ctx, m)
		return err
	}
	messages := make([]*envelope.Message, len(events))
	for i, e := range events {
		messages[i] = eventMessage(namespace, e)
	}
	err := b.storeBatch(ctx, messages)
	if !hasCode(err, codeBatchDuplicate) {
		return explain("storing a batch", err)
	}
	// One of them is stored already, and the server refuses the batch for it:
	// one by one it tells which.
	for _, m := range messages {
		if err := b.storeUnbatched(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// events are those of a namespace that come one by one.
func (b *Bus) events(namespace string) *group {
	g, ok := b.groups.Load(namespace)
	if !ok {
		g, _ = b.groups.LoadOrStore(namespace, &group{bus: b})
	}
	return g.(*group)
}

func eventMessage(namespace string, e *event.Event) *envelope.Message {
	h := make(envelope.Header, len(e.Attributes)+2)
	h[envelope.HeaderFormat] = []string{envelope.Format}
	e.ToStored(h)
	return &envelope.Message{
		Subject: names.EventSubject(namespace, e.Type()), Header: h, Body: e.Data, ID: "e/" + e.Key(),
	}
}

// storeBatch stores 2 to 1000 messages of one stream, all or none. Only the
// last one is answered.
func (b *Bus) storeBatch(ctx context.Context, messages []*envelope.Message) error {
	stored, err := b.sendBatch(messages)
	if err != nil {
		return err
	}
	select {
	case <-stored.Ok():
		return nil
	case err := <-stored.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sendBatch sends the messages of a batch, and no other batch's between them:
// the server allows 50 batches of a stream to be open.
func (b *Bus) sendBatch(messages []*envelope.Message) (jetstream.PubAckFuture, error) {
	b.batches.Lock()
	defer b.batches.Unlock()
	id, last := nuid.Next(), len(messages)-1
	for i, m := range messages[:last] {
		if err := b.nc.PublishMsg(batchMsg(m, id, i+1)); err != nil {
			return nil, fmt.Errorf("sending message %d of a batch: %w", i+1, err)
		}
	}
	commit := batchMsg(messages[last], id, last+1)
	commit.Header.Set(headerBatchCommit, "1")
	return b.js.PublishMsgAsync(commit)
}

func batchMsg(m *envelope.Message, id string, sequence int) *nats.Msg {
	msg := natsMsg(m)
	msg.Header.Set(headerBatchID, id)
	msg.Header.Set(headerBatchSequence, strconv.Itoa(sequence))
	return msg
}
