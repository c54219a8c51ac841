package repository

import (
	"fmt"
	"strings"
)

// SmileText spells out a Smile document, token by token, for tests outside this package.
func SmileText(doc []byte) (string, error) {
	tokens, err := all(doc)
	var out strings.Builder
	for _, t := range tokens {
		fmt.Fprintf(&out, "%v %d %g %q %x\n", t.kind, t.int, t.float, t.str, t.bytes)
	}
	return out.String(), err
}
