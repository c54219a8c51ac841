package repository

import (
	"encoding/binary"
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

// ByName finds a snapshot by its name.
func (r *Root) ByName(name string) (Snapshot, bool) {
	i, ok := r.byName[name]
	if !ok {
		return Snapshot{}, false
	}
	return r.Snapshots[i], true
}

// ParseLatest reads index.latest: the generation of the newest root index, 8 bytes, big endian.
func ParseLatest(data []byte) (int64, error) {
	if len(data) != 8 {
		return 0, malformed(LatestKey, "it has %d bytes, not 8", len(data))
	}
	n := int64(binary.BigEndian.Uint64(data))
	if n < 0 {
		return 0, malformed(LatestKey, "its generation %d is negative", n)
	}
	return n, nil
}
