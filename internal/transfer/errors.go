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
	Vanished Kind = iota // the source has it no more
	Changed              // the source has another under its key
	Corrupt              // what was stored is not what the source says it has, each time it was tried
)

var kindNames = [...]string{"vanished from the source", "changed in the source while it was copied", "can't be copied unharmed"}

// Error is a blob that can't be copied, however often it is tried.
type Error struct {
	Kind Kind
	Key  string
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("blob %s %s: %v", e.Key, kindNames[e.Kind], e.Err) }

func (e *Error) Unwrap() error { return e.Err }

var (
	// errUnproven marks a copy whose ETags don't fit: the blob begins again. It was damaged, or a side hides MD5s.
	errUnproven = errors.New("checksums differ")
	// errDamaged marks bytes that were surely damaged on their way.
	errDamaged = fmt.Errorf("damaged on the way to OSS: %w", errUnproven)
	// errNoMD5 says that the source's ETag only looks like an MD5: the blob goes another way.
	errNoMD5 = errors.New("the ETag in S3 is no MD5")
	// errGone says that somebody else has ended the upload: the blob begins again.
	errGone = errors.New("the upload is gone")
	// errStale marks an upload of another version that was taken over: the blob begins again, alone.
	errStale = errors.New("the upload that was taken over doesn't belong to this version of the blob")
)

func unproven(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnproven, fmt.Sprintf(format, args...))
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamaged, fmt.Sprintf(format, args...))
}

// reading tells what a failed read of the source means for the blob. The same kinds from the sink mean something else.
func reading(key string, err error) error {
	switch objectstore.KindOf(err) {
	case objectstore.NotFound:
		return &Error{Kind: Vanished, Key: key, Err: err}
	case objectstore.Changed:
		return &Error{Kind: Changed, Key: key, Err: err}
	}
	return err
}
