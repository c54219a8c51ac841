package audit

import (
	"errors"
	"fmt"
)

// Kind says why there is nothing to compare.
type Kind int

// The kinds. No retry gets over any of them.
const (
	Missing Kind = iota + 1 // there is no repository in S3, or no such snapshot
	Damaged                 // the root in S3 can't be understood
	Refused                 // the repository is one that can't be copied
)

var kindNames = [...]string{"", "missing", "damaged", "refused"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		k = 0
	}
	return kindNames[k]
}

// Error is a failure with a known meaning. Its message is a sentence: what was tried, on what, what
// came back.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return e.Message }

// KindOf is the kind of the first *Error in err's chain, 0 if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return 0
}

func failed(kind Kind, format string, args ...any) error {
	return &Error{kind, fmt.Sprintf(format, args...)}
}
