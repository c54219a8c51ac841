package repository

import "fmt"

// FormatError says that bytes or names of a repository are not what Elasticsearch writes: they are
// damaged, of an unknown version, or beyond the limits. To parse the same bytes again can't fix it;
// to read the object again may.
type FormatError struct {
	What   string // which kind of object or name, as in "root index-3"
	Reason string
}

func (e *FormatError) Error() string { return e.What + ": " + e.Reason }

func malformed(what, format string, args ...any) error {
	return &FormatError{What: what, Reason: fmt.Sprintf(format, args...)}
}

// clip shortens foreign text for an error message.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q... (%d bytes)", s[:most], len(s))
	}
	return fmt.Sprintf("%q", s)
}
