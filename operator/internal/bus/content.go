package bus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/serviceful/serviceful/operator/internal/names"
)

const (
	chunkSize   = 128 << 10 // bytes: what NATS's own tools take
	chunksAhead = 8         // sent, and not yet known to be stored

	// chunkTime is how long a chunk may take to come. SweepObjects must not take
	// an upload that goes on for one that was left.
	chunkTime = 10 * time.Minute
)

// headerOffset is where in its object a chunk begins, in bytes.
const headerOffset = "Serviceful-Offset"

// ErrTooSlow is returned when an upload brings less than a chunk in chunkTime.
var ErrTooSlow = errors.New("the content comes too slowly: less than 128 KiB in 10 minutes")

// uploaded is what an upload came to.
type uploaded struct {
	size   int64
	chunks uint32
	digest []byte
}

// upload stores what body brings as chunks, chunksAhead of them at a time. When it
// returns none is on its way any more.
func (b *Bus) upload(ctx context.Context, subject string, body io.Reader) (out uploaded, err error) {
	var (
		buffers [chunksAhead][]byte
		sent    [chunksAhead]jetstream.PubAckFuture
		hash    = sha256.New()
	)
	defer func() {
		for _, f := range sent {
			if failed := stored(f); err == nil {
				err = failed
			}
		}
		out.digest = hash.Sum(nil)
	}()
	for end := false; !end; {
		i := out.chunks % chunksAhead
		err, sent[i] = stored(sent[i]), nil // its buffer is free then
		if err != nil {
			return out, err
		}
		if buffers[i] == nil {
			buffers[i] = make([]byte, chunkSize)
		}
		n, err := fill(body, buffers[i])
		if end = errors.Is(err, io.EOF); err != nil && !end {
			return out, err
		}
		if n == 0 {
			break
		}
		hash.Write(buffers[i][:n])
		sent[i], err = b.js.PublishMsgAsync(&nats.Msg{
			Subject: subject, Data: buffers[i][:n], Header: nats.Header{headerOffset: {strconv.FormatInt(out.size, 10)}},
		})
		if err != nil {
			return out, explain("storing a chunk", err)
		}
		out.size += int64(n)
		out.chunks++
	}
	return out, ctx.Err()
}

// fill reads until buf is full or there is no more, which is io.EOF alone: any
// other error is a body that broke off.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for by := wallClock().Add(chunkTime); n < len(buf) && err == nil; {
		var read int
		read, err = r.Read(buf[n:])
		n += read
		if wallClock().After(by) {
			return n, ErrTooSlow
		}
	}
	return n, err
}

// wallClock goes on while the machine sleeps, as the sweeper's clock does.
func wallClock() time.Time { return time.Now().Round(0) }

// stored waits until a chunk is stored, for no longer than storeTimeout; nil is
// none.
func stored(f jetstream.PubAckFuture) error {
	if f == nil {
		return nil
	}
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return explain("storing a chunk", err)
	}
}

func encodeDigest(digest []byte) string {
	return digestPrefix + base64.URLEncoding.EncodeToString(digest)
}

// ReadObject writes length bytes of an object to w, from the byte from on. It
// holds one chunk at a time, and the last one back until the whole is known to
// be what was stored: what it wrote when it returns ErrBroken is never all. Of a
// part, each chunk is known to be in its place.
func (b *Bus) ReadObject(ctx context.Context, o Object, from, length int64, w io.Writer) error {
	if length == 0 {
		return nil
	}
	c := chunks{b, names.StoreStream(o.Namespace, o.Store), names.ObjectChunks(o.Namespace, o.Store, o.content)}
	hash, at := sha256.New(), int64(0)
	piece, err := c.next(ctx, 1)
	if err == nil && o.Placed && from >= piece.end() {
		piece, err = c.find(ctx, piece, from)
		at = piece.offset
	}
	for end := from + length; err == nil; piece, err = c.next(ctx, piece.sequence+1) {
		if o.Placed && piece.offset != at {
			return fmt.Errorf("%w: a chunk is missing at byte %d", ErrBroken, at)
		}
		begins := at
		at += int64(len(piece.data))
		hash.Write(piece.data)
		if whole := from == 0 && length == o.Size; whole && at >= o.Size && (at > o.Size || !bytes.Equal(hash.Sum(nil), o.Digest)) {
			return fmt.Errorf("%w: it has another digest than when it was stored", ErrBroken)
		}
		if at <= from {
			continue
		}
		if _, err := w.Write(piece.data[max(from-begins, 0):min(end-begins, int64(len(piece.data)))]); err != nil {
			return fmt.Errorf("passing an object on: %w", err)
		}
		if at >= end {
			return nil
		}
	}
	return err
}

// chunks are the chunks of one content.
type chunks struct {
	bus             *Bus
	stream, subject string
}

type chunk struct {
	data     []byte
	offset   int64 // 0 where it does not say
	sequence uint64
}

func (c chunk) end() int64 { return c.offset + int64(len(c.data)) }

// next is the first chunk whose sequence is at least the given one. Nothing is
// open between two calls, so that a reader may take its time.
func (c chunks) next(ctx context.Context, sequence uint64) (chunk, error) {
	return c.read(ctx, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(c.subject))
	})
}

func (c chunks) last(ctx context.Context) (chunk, error) {
	return c.read(ctx, func(ctx context.Context, s jetstream.Stream) (*jetstream.RawStreamMsg, error) {
		return s.GetLastMsgForSubject(ctx, c.subject)
	})
}

func (c chunks) read(ctx context.Context, get func(context.Context, jetstream.Stream) (*jetstream.RawStreamMsg, error)) (chunk, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	m, err := c.bus.read(ctx, c.stream, "reading a chunk", func(s jetstream.Stream) (*jetstream.RawStreamMsg, error) { return get(ctx, s) })
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return chunk{}, fmt.Errorf("%w: a chunk is gone", ErrBroken)
	case err != nil:
		return chunk{}, err
	}
	out := chunk{data: m.Body, sequence: m.Sequence}
	if s := m.Header.Get(headerOffset); s != "" {
		if out.offset, err = strconv.ParseInt(s, 10, 64); err != nil || out.offset < 0 {
			return chunk{}, fmt.Errorf("%w: a chunk begins at byte %q", ErrBroken, s)
		}
	}
	return out, nil
}

// interpolated is how many guesses are made from the offsets before the rest are
// halvings: the first is right where nothing else was stored meanwhile.
const interpolated = 4

// find is the chunk that holds the byte at. low is one before it.
func (c chunks) find(ctx context.Context, low chunk, at int64) (chunk, error) {
	high, err := c.last(ctx)
	if err != nil || high.offset <= at {
		return high, err
	}
	// The chunk is behind low and before high. Between the two there may be any
	// number of messages of others.
	for tries := 0; low.sequence+1 < high.sequence; tries++ {
		room := high.sequence - low.sequence - 1
		guess := low.sequence + 1 + room/2
		if tries < interpolated && high.offset > low.end() {
			guess = low.sequence + 1 + uint64(float64(room)*float64(at-low.end())/float64(high.offset-low.end()))
		}
		guess = min(guess, high.sequence-1)
		probe, err := c.next(ctx, guess)
		switch {
		case err != nil:
			return chunk{}, err
		case probe.offset > at:
			high = chunk{offset: probe.offset, sequence: guess} // there is none from here to the probe
		case probe.end() > at:
			return probe, nil
		default:
			low = probe
		}
	}
	return chunk{}, fmt.Errorf("%w: no chunk holds byte %d", ErrBroken, at)
}
