package osstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// record is a line of a bucket's journal: one change of its index, which is complete when its line
// is.
type record struct {
	Put    *object `json:",omitempty"` // replaces what is under its key, and ends the upload that made it
	Delete string  `json:",omitempty"`
	Begin  *upload `json:",omitempty"`
	Upload string  `json:",omitempty"` // id of the upload that Part belongs to
	Part   *part   `json:",omitempty"` // replaces the part of that number
	End    string  `json:",omitempty"` // id of an upload that was aborted
}

// journal is a bucket's index on the disk. The bucket's mu guards it.
type journal struct {
	file    *os.File
	size    int64
	records int
}

func (r record) line() ([]byte, error) {
	data, err := json.Marshal(r)
	return append(data, '\n'), err
}

// write appends a line. If that fails the journal is as before.
func (j *journal) write(line []byte) error {
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		return errors.Join(err, j.file.Truncate(j.size))
	}
	j.size += int64(len(line))
	j.records++
	return nil
}

func (b *bucket) journalPath() string { return filepath.Join(b.dir, "journal") }

func (b *bucket) openJournal() (err error) {
	b.journal.file, err = os.OpenFile(b.journalPath(), os.O_RDWR|os.O_CREATE, 0o644)
	return err
}

// replay reads the journal. A last line that isn't complete was being written when the process
// ended: it never happened.
func (b *bucket) replay() error {
	data, err := os.ReadFile(b.journalPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := b.openJournal(); err != nil {
		return err
	}
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			break
		}
		var r record
		if err := json.Unmarshal(data[:end], &r); err != nil {
			return fmt.Errorf("its journal is damaged in line %d: %w", b.journal.records+1, err)
		}
		b.apply(r)
		b.journal.size += int64(end) + 1
		b.journal.records++
		data = data[end+1:]
	}
	if err := b.journal.file.Truncate(b.journal.size); err != nil {
		return err
	}
	live := b.index.n
	for _, u := range b.uploads {
		live += 1 + len(u.parts)
	}
	if b.journal.records > 2*live+1000 {
		return b.compact()
	}
	return nil
}

func (b *bucket) apply(r record) {
	switch {
	case r.Put != nil:
		o := r.Put
		o.dir, o.Header = b.dir, intern(o.Header)
		o.refs.Store(1)
		if o.StorageClass == b.StorageClass {
			o.StorageClass = b.StorageClass // one string for all
		}
		b.index.set(o)
		delete(b.uploads, o.UploadID)
	case r.Delete != "":
		b.index.remove(r.Delete)
	case r.Begin != nil:
		r.Begin.parts = map[int]part{}
		b.uploads[r.Begin.ID] = r.Begin
	case r.Part != nil:
		if u := b.uploads[r.Upload]; u != nil {
			u.parts[r.Part.Number] = *r.Part
		}
	case r.End != "":
		delete(b.uploads, r.End)
	}
}

// compact writes a journal of what is there and puts it into place.
func (b *bucket) compact() error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	records := 0
	add := func(r record) error { records++; return e.Encode(r) }
	for o := range b.index.from("") {
		if err := add(record{Put: o}); err != nil {
			return err
		}
	}
	for _, u := range b.uploads {
		if err := add(record{Begin: u}); err != nil {
			return err
		}
		for _, p := range u.parts {
			if err := add(record{Upload: u.ID, Part: &p}); err != nil {
				return err
			}
		}
	}
	path := filepath.Join(b.store.dir, "tmp", randomHex(12))
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		return err
	}
	if err := b.journal.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(path, b.journalPath()); err != nil {
		return err
	}
	b.journal.size, b.journal.records = int64(text.Len()), records
	return b.openJournal()
}

// plainHeader is that of most objects.
var plainHeader = map[string]string{"Content-Type": "application/octet-stream"}

// plainHeaders are headers with a common Content-Type and nothing else. Objects share them, since
// no header is changed once it belongs to an object.
var plainHeaders = map[string]map[string]string{
	"application/octet-stream": plainHeader,
	"binary/octet-stream":      {"Content-Type": "binary/octet-stream"},
}

func intern(h map[string]string) map[string]string {
	if shared := plainHeaders[h["Content-Type"]]; shared != nil && len(h) == 1 {
		return shared
	}
	return h
}
