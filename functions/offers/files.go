package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/serviceful/serviceful/functions/serviceful"
)

const (
	fileKeys   = "file." // and the name: what became of a file
	maxReasons = 20      // rejected lines that an event names
)

var validFile = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}[.]csv$`)

// upload keeps a file of offers; that it was put is what has it loaded.
func (h *handler) upload(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if !validFile.MatchString(name) {
		return serviceful.NewProblem(http.StatusBadRequest, "a file's name is up to 100 letters, digits, dots, hyphens and underscores, and ends in .csv")
	}
	if _, err := h.files.Put(r.Context(), name, "text/csv", r.Body); err != nil {
		return fmt.Errorf("keeping the file: %w", err)
	}
	return serviceful.WriteJSON(w, http.StatusAccepted, map[string]string{"file": name})
}

// outcome answers what became of a file when it was last loaded.
func (h *handler) outcome(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	unknown := serviceful.NewProblem(http.StatusNotFound, "no file %q was loaded yet", name)
	if !validFile.MatchString(name) {
		return unknown
	}
	var done loaded
	_, err := h.offers.Get(r.Context(), fileKeys+name, &done)
	switch {
	case errors.Is(err, serviceful.ErrNotFound):
		return unknown
	case err != nil:
		return fmt.Errorf("reading what became of the file: %w", err)
	}
	return serviceful.WriteJSON(w, http.StatusOK, done)
}

// load brings the offers of a file that was put into the catalogue, and answers how that went. It holds a few lines at a time. Doing
// it again is doing it once; offers that are not in the file stay.
func (h *handler) load(w http.ResponseWriter, r *http.Request) error {
	var change serviceful.ObjectChange
	event, err := serviceful.ReadEvent(r, &change)
	if err != nil {
		return err
	}
	content, _, err := h.files.Get(r.Context(), change.Name)
	if errors.Is(err, serviceful.ErrNotFound) { // it was removed, or this is the event that says so
		return serviceful.Answer(w)
	}
	if err != nil {
		return fmt.Errorf("opening %q: %w", change.Name, err)
	}
	defer content.Close()
	done, err := h.loadLines(r.Context(), content)
	if err != nil {
		return fmt.Errorf("loading %q: %w", change.Name, err)
	}
	done.Loaded = h.now()
	if _, err := h.offers.Put(r.Context(), fileKeys+change.Name, done); err != nil {
		return fmt.Errorf("noting what became of %q: %w", change.Name, err)
	}
	return serviceful.Answer(w, serviceful.Event{
		ID: "imported-" + change.Name + "-" + event.ID, Source: source, Type: importedType, Subject: change.Name, Time: event.Time,
		Data: done,
	})
}

// loaded is what became of a file.
type loaded struct {
	Offers   int       `json:"offers"`   // lines that are in the catalogue now
	Rejected int       `json:"rejected"` // lines that are not
	Reasons  []string  `json:"reasons"`  // of the first 20 of those
	Loaded   time.Time `json:"loaded"`
}

func (l *loaded) reject(line int, reason string) {
	if l.Rejected++; l.Rejected <= maxReasons {
		l.Reasons = append(l.Reasons, fmt.Sprintf("line %d: %s", line, reason))
	}
}

func (h *handler) loadLines(ctx context.Context, content io.Reader) (loaded, error) {
	done := loaded{Reasons: []string{}}
	table, err := openTable(content)
	if err != nil {
		return done, err
	}
	greeting, _, err := h.readWelcomes(ctx)
	if err != nil {
		return done, err
	}
	var changed []offer // the file's welcome offers, and those that are none any more
	g, writing := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for writing.Err() == nil {
		o, line, reason, err := table.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return done, errors.Join(err, g.Wait())
		}
		if reason == "" && (o.Welcome || slices.ContainsFunc(greeting.Offers, func(k offer) bool { return k.ID == o.ID })) {
			if !greeting.set(o) {
				reason = fmt.Sprintf("there are %d welcome offers, and no more are possible", maxWelcome)
			} else {
				changed = append(changed, o)
			}
		}
		if reason != "" {
			done.reject(line, reason)
			continue
		}
		done.Offers++
		g.Go(func() error {
			_, err := h.offers.Put(writing, offerKeys+o.ID, o)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return done, fmt.Errorf("writing the catalogue: %w", err)
	}
	return done, h.changeWelcomes(ctx, func(known *welcomes) {
		for _, o := range changed {
			known.set(o)
		}
	})
}

// columns that a file may have, the first two of them it must.
var columns = []string{"id", "title", "welcome", "expires"}

// table is a file of offers: CSV (RFC 4180) in UTF-8, whose first line names the columns.
type table struct {
	lines *csv.Reader
	at    map[string]int // column -> field
}

// openTable reads the first line. Its errors are 400 problems: no later delivery would read better.
func openTable(content io.Reader) (*table, error) {
	in := bufio.NewReader(content)
	if mark, err := in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) { // as spreadsheets write it
		_, _ = in.Discard(len(mark))
	}
	t := &table{lines: csv.NewReader(in), at: map[string]int{}}
	t.lines.ReuseRecord = true
	header, err := t.lines.Read()
	if errors.Is(err, io.EOF) {
		return nil, serviceful.NewProblem(http.StatusBadRequest, "the file is empty: its first line must name the columns")
	}
	if err != nil {
		return nil, unreadable(err)
	}
	for i, name := range header {
		if _, twice := t.at[name]; twice || !slices.Contains(columns, name) {
			return nil, serviceful.NewProblem(http.StatusBadRequest, "column %q: the columns are id, title, welcome and expires, each once", name)
		}
		t.at[name] = i
	}
	for _, name := range columns[:2] {
		if _, ok := t.at[name]; !ok {
			return nil, serviceful.NewProblem(http.StatusBadRequest, "the first line names no column %q", name)
		}
	}
	return t, nil
}

// next reads a line; reason says why it is no offer. io.EOF ends the file; another error is that of the file or of the way it came.
func (t *table) next() (o offer, line int, reason string, err error) {
	record, err := t.lines.Read()
	if broken, ok := errors.AsType[*csv.ParseError](err); ok && errors.Is(err, csv.ErrFieldCount) {
		return offer{}, broken.Line, "it has another number of fields than the first line", nil
	}
	if err != nil {
		return offer{}, 0, "", unreadable(err)
	}
	line, _ = t.lines.FieldPos(0)
	o, reason = t.offer(record)
	return o, line, reason, nil
}

func (t *table) offer(record []string) (offer, string) {
	field := func(column string) string {
		if i, ok := t.at[column]; ok {
			return record[i]
		}
		return ""
	}
	o := offer{ID: field("id"), Title: field("title")}
	var err error
	if s := field("welcome"); s != "" {
		if o.Welcome, err = strconv.ParseBool(s); err != nil {
			return o, fmt.Sprintf("welcome is %q, not true or false", s)
		}
	}
	if s := field("expires"); s != "" {
		expires, err := time.Parse(time.RFC3339, s)
		if day, alone := time.Parse(time.DateOnly, s); alone == nil { // to its end
			expires, err = day.AddDate(0, 0, 1), nil
		}
		if err != nil {
			return o, fmt.Sprintf("expires is %q, neither a day such as 2026-12-31 nor an RFC 3339 time", s)
		}
		o.Expires = &expires
	}
	return o, o.check()
}

// unreadable is a problem where the file's own text is at fault.
func unreadable(err error) error {
	if broken, ok := errors.AsType[*csv.ParseError](err); ok {
		return serviceful.NewProblem(http.StatusBadRequest, "line %d is not CSV: %v", broken.Line, broken.Err)
	}
	return err
}
