package migration

import (
	"fmt"
	"regexp"
	"strconv"
)

// LongestInline bounds, in bytes of JSON, a list that a payload holds itself. Temporal refuses a
// payload above 2 MiB, and terminates a workflow that sends one. A payload may hold several lists,
// and the commands of one workflow task together have 4 MB.
const LongestInline = 32 << 10

// Stored stands for a list or table that is too long for a payload. It lies in OSS as the JSON of T,
// beside the run's repository, under its digest. T is a slice or a map. Activities store and read
// such lists; a workflow hands on what stands for them.
//
// A request or result has a list in one of two fields: X, or XOf if it is stored. As text it is
// `<SHA-256 in hexadecimal>/<number of entries>`.
type Stored[T any] struct {
	Digest  string
	Entries int
}

var storedText = regexp.MustCompile(`^([0-9a-f]{64})/([0-9]{1,9})$`)

// MarshalText writes the form that UnmarshalText reads.
func (s Stored[T]) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s/%d", s.Digest, s.Entries), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *Stored[T]) UnmarshalText(text []byte) error {
	m := storedText.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%.100q does not stand for a stored list: a SHA-256 and a number of entries", text)
	}
	s.Digest = string(m[1])
	s.Entries, _ = strconv.Atoi(string(m[2])) // nine digits
	return nil
}

// IsZero tells whether nothing is stored.
func (s Stored[T]) IsZero() bool { return s.Digest == "" }
