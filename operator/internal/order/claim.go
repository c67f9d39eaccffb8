package order

import "time"

// Claim is what is stored of who may call an ordered trigger.
type Claim struct {
	Holder   string           // of the claim; "": nobody
	Tried    map[uint64]Tried // what the holder could not settle yet, by stream sequence
	Revision uint64           // of the record; 0: there is none
}

// Tried is how far a message has come that is called again in its place.
type Tried struct {
	Attempts int           `json:"attempts"`        // calls made that count
	Tries    int           `json:"tries"`           // times it was put off
	Broke    time.Duration `json:"broke,omitempty"` // how long the last call lasted when its connection broke; 0: it did not
}

// Contender is one who wants a claim, and knows what it saw and was told of it.
//
// A holder renews the claim before Term is over. Nobody else takes it before it
// saw it unchanged for Term; and the holder counts on it for half of Term only,
// from before it asked for what it was told is stored. So two never hold it at
// once, while their clocks agree on how long Term is within half of it. What is
// stored must be stored on condition of the revision.
type Contender struct {
	ID   string        // no other one has it
	Term time.Duration // the same for all

	seen  uint64    // the revision that was read last, or is our own
	since time.Time // when it was read first
	free  bool      // nobody holds it, or we do
	until time.Time // we hold it; zero: we do not
}

// Read is told of a claim that was read; now is a time since then.
func (c *Contender) Read(claim Claim, now time.Time) {
	if claim.Revision != c.seen || c.since.IsZero() {
		c.seen, c.since = claim.Revision, now
	}
	c.free = claim.Holder == "" || claim.Holder == c.ID
	if claim.Holder != c.ID {
		c.until = time.Time{}
	}
}

// MayStore reports whether the contender may store itself as the holder, on
// condition that the revision is Revision.
func (c *Contender) MayStore(now time.Time) bool {
	return !c.since.IsZero() && (c.free || now.Sub(c.since) >= c.Term)
}

// Revision is the last one that the contender knows of.
func (c *Contender) Revision() uint64 { return c.seen }

// Stored is told that the contender is stored as the holder, which was asked for
// not before a time.
func (c *Contender) Stored(revision uint64, asked time.Time) {
	c.seen, c.since, c.free = revision, asked, true
	c.until = asked.Add(c.Term / 2)
}

// Leave ends the holding.
func (c *Contender) Leave() { c.until = time.Time{} }

// Until is when the holding ends unless it is renewed; zero: there is none.
func (c *Contender) Until() time.Time { return c.until }
