package transfer

import (
	"errors"
	"fmt"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// Kind says what is wrong with a blob.
type Kind int

// The kinds.
const (
	Vanished Kind = iota // the source doesn't have it any more
	Changed              // the source has another object under its key
	Corrupt              // in every attempt the stored bytes differed from those that the source's checksum stands for
)

var kindNames = [...]string{
	"vanished from the source", "changed in the source while it was copied",
	"can't be copied undamaged",
}

// Error is a blob that can't be copied; another attempt would fail again.
type Error struct {
	Kind Kind
	Key  string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("blob %s %s: %v", e.Key, kindNames[e.Kind], e.Err) }

func (e *Error) Unwrap() error { return e.Err }

var (
	// errUnproven marks a copy whose ETags don't agree: the blob begins again. It was damaged, or a
	// side's ETags are no MD5s.
	errUnproven = errors.New("checksums differ")
	// errDamaged marks bytes that were certainly damaged on the way.
	errDamaged = fmt.Errorf("damaged on the way to OSS: %w", errUnproven)
	// errNoMD5 says that the source's ETag only looks like an MD5: the blob is copied in another
	// way.
	errNoMD5 = errors.New("the ETag in S3 is no MD5")
	// errGone says that somebody else has aborted or completed the upload: the blob begins again.
	errGone = errors.New("the upload is gone")
	// errStale marks an adopted upload of another version: the blob begins again, with an upload of
	// its own.
	errStale = errors.New("the upload of an earlier attempt belongs to another version of the blob")
)

func unproven(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnproven, fmt.Sprintf(format, args...))
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// reading tells what a failed read of the source means for the blob. From the sink, the same kinds
// mean something else.
func reading(key string, err error) error {
	switch objectstore.KindOf(err) {
	case objectstore.NotFound:
		return &Error{Kind: Vanished, Key: key, Err: err}
	case objectstore.Changed:
		return &Error{Kind: Changed, Key: key, Err: err}
	}
	return err
}
