package migration

import (
	"fmt"
	"regexp"
	"strconv"
)

// ShardRange is a range of a shard's blobs in a delta, in the order of their keys: From inclusive,
// To exclusive. As text, which keeps requests with thousands of shards small, it is `<index
// id>/<shard>:<from>-<to>`, and `@<base>` behind it if there is one.
type ShardRange struct {
	IndexID  string
	Shard    int
	From, To int
	// Base is the snapshot from which the index's delta is taken, if that is another than the base
	// of most; "-" if there is none.
	Base string
}

var shardRange = regexp.MustCompile(`^([^/]+)/([0-9]{1,9}):([0-9]{1,9})-([0-9]{1,9})(?:@([^/@]+))?$`)

// MarshalText writes the form that UnmarshalText reads.
func (r ShardRange) MarshalText() ([]byte, error) {
	text := fmt.Appendf(nil, "%s/%d:%d-%d", r.IndexID, r.Shard, r.From, r.To)
	if r.Base != "" {
		text = append(append(text, '@'), r.Base...)
	}
	return text, nil
}

// UnmarshalText reads what MarshalText wrote.
func (r *ShardRange) UnmarshalText(text []byte) error {
	m := shardRange.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%.100q is not a range of a shard's blobs such as gCFnl0ZYR4KbKGLA22rnjw/3:0-500", text)
	}
	r.IndexID, r.Base = string(m[1]), string(m[5])
	for i, n := range []*int{&r.Shard, &r.From, &r.To} {
		*n, _ = strconv.Atoi(string(m[i+2])) // nine digits
	}
	return nil
}

// Digest is a sum of hashes of 64 bits, modulo 2^64: the order of what it sums up plays no role,
// and sums can be summed. As text it is in hexadecimal, since JSON's numbers are exact to 53 bits
// only.
type Digest uint64

// MarshalText writes the form that UnmarshalText reads.
func (d Digest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(d)), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || len(text) != 16 {
		return fmt.Errorf("%.100q is not a digest of 16 hexadecimal digits", text)
	}
	*d = Digest(n)
	return nil
}

// MarshalText writes the form that UnmarshalText reads.
func (s SnapshotShard) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%s/%d", s.Index, s.Shard), nil
}

var snapshotShard = regexp.MustCompile(`^([^/]+)/([0-9]{1,9})$`)

// UnmarshalText reads what MarshalText wrote.
func (s *SnapshotShard) UnmarshalText(text []byte) error {
	m := snapshotShard.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%.100q is not a shard of an index such as movies/3", text)
	}
	s.Index = string(m[1])
	s.Shard, _ = strconv.Atoi(string(m[2])) // nine digits
	return nil
}
