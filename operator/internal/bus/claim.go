package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/serviceful/serviceful/operator/internal/envelope"
	"github.com/serviceful/serviceful/operator/internal/names"
	"github.com/serviceful/serviceful/operator/internal/order"
)

// claimRecord is the body of a stored claim.
type claimRecord struct {
	Holder string                 `json:"holder,omitempty"`
	Tried  map[uint64]order.Tried `json:"tried,omitempty"`
}

// Claim reads who may call an ordered trigger; the zero Claim if that was never
// stored, or not for a day.
func (b *Bus) Claim(ctx context.Context, f names.Function, trigger string) (order.Claim, error) {
	m, err := b.Last(ctx, names.Results(f.Namespace), names.Claim(f, trigger))
	if errors.Is(err, ErrNotFound) {
		return order.Claim{}, nil
	}
	if err != nil {
		return order.Claim{}, err
	}
	var r claimRecord
	if err := json.Unmarshal(m.Body, &r); err != nil {
		return order.Claim{}, fmt.Errorf("reading a claim: %w", err)
	}
	return order.Claim{Holder: r.Holder, Tried: r.Tried, Revision: m.Sequence}, nil
}

// StoreClaim stores a claim in the place of the one with its revision, and
// returns the new revision; else ErrConflict. Where NATS has replicas, most of
// them have it then.
func (b *Bus) StoreClaim(ctx context.Context, f names.Function, trigger string, c order.Claim) (uint64, error) {
	body, err := json.Marshal(claimRecord{Holder: c.Holder, Tried: c.Tried})
	if err != nil {
		return 0, fmt.Errorf("writing a claim: %w", err)
	}
	stored, err := b.StoreIf(ctx, envelope.New(names.Claim(f, trigger), body), c.Revision)
	return stored.Sequence, err
}
