package serviceful

import (
	"encoding/json"
	"strconv"
)

// The types of the events that a function with a keyValue or an object trigger gets. The data is a KeyChange, or an ObjectChange.
const (
	KeyPut        = "dev.serviceful.keyvalue.put.v1"
	KeyDeleted    = "dev.serviceful.keyvalue.delete.v1"
	KeyExpired    = "dev.serviceful.keyvalue.expire.v1"
	ObjectPut     = "dev.serviceful.object.put.v1"
	ObjectDeleted = "dev.serviceful.object.delete.v1"
)

// KeyChange is what happened to a key of a bucket.
type KeyChange struct {
	Bucket           string          `json:"bucket"`
	Key              string          `json:"key"`
	Revision         uint64          `json:"revision"`
	PreviousRevision uint64          `json:"previousRevision,omitempty"` // that was told before; 0: nobody knows
	Value            json.RawMessage `json:"value,omitempty"`            // that was put, where it is JSON
	ValueBase64      []byte          `json:"valueBase64,omitempty"`      // that was put, decoded, where it is not
}

// Is is the revision as buckets know it: with it, Update changes the key if it is still as the event says.
func (c KeyChange) Is() Revision { return revisionOf(c.Revision) }

// ObjectChange is what happened to an object of a store. Its content is read from the store.
type ObjectChange struct {
	Store            string `json:"store"`
	Name             string `json:"name"`
	Revision         uint64 `json:"revision"`
	PreviousRevision uint64 `json:"previousRevision,omitempty"` // that was told before; 0: nobody knows
	Size             int64  `json:"size"`                       // in bytes; 0 of one that was deleted
	ContentType      string `json:"contentType,omitempty"`
	Digest           string `json:"digest,omitempty"` // as the header Repr-Digest has it
}

// Is is the revision as stores know it: what Get returns, if the object is still as the event says.
func (c ObjectChange) Is() Revision { return revisionOf(c.Revision) }

func revisionOf(n uint64) Revision { return Revision(strconv.Quote(strconv.FormatUint(n, 10))) }
