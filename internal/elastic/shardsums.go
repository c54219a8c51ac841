package elastic

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// ShardScan says what is read of a shard.
type ShardScan struct {
	Shard int
	// Beyond leaves only the documents beyond that sequence number: those with a larger one, and those
	// without any, which are of segments that 5.x wrote. Nil is all documents. See seqnos.go.
	Beyond *int64
	// UpTo leaves only those whose number is at most that: with Beyond, what lies between the two.
	// Documents without a number are none of them.
	UpTo *int64
	// Unnumbered finds with Beyond also what has no number where the index says that each has one. It
	// looks at all documents of the shard for that.
	Unnumbered bool
}

// whole tells whether all documents are read.
func (s ShardScan) whole() bool { return s.Beyond == nil && s.UpTo == nil }

// where is the query that finds what is read of a shard that isn't read whole.
func (s ShardScan) where(numbered bool) any {
	switch {
	case s.UpTo == nil:
		return beyond(*s.Beyond, numbered && !s.Unnumbered)
	case s.Beyond == nil:
		return notBeyond(*s.UpTo)
	}
	return between(*s.Beyond, *s.UpTo)
}

// ShardChecksum is the checksum over what was read of a shard.
type ShardChecksum struct {
	Shard int
	Checksum
	// Took is how long the requests took that read the documents, without pauses.
	Took time.Duration
}

// ShardChecksums reads id and version of the documents of some shards of an index: of all of them,
// or of those beyond a sequence number. It returns a checksum of each shard, in the order asked for.
// What [Client.Checksum] says holds here too, also that a lost page is always noticed.
// [NotSupported] if documents beyond a sequence number are asked for before 6.0.
func (c *Client) ShardChecksums(ctx context.Context, index string, shards []ShardScan,
	options ChecksumOptions,
) ([]ShardChecksum, error) {
	what := call{operation: "checksum", subject: index}
	if err := c.named(what.operation, []string{index}); err != nil {
		return nil, err
	}
	types, err := c.searchedTypes(ctx, index)
	if err != nil {
		return nil, err
	}
	base, number, err := c.scanOf(ctx, what, index, options)
	if err != nil {
		return nil, err
	}
	for _, s := range shards {
		if s.Shard < 0 || s.Shard >= number {
			return nil, c.fail(what, Invalid, fmt.Sprintf("there is no shard %d: the index has %d", s.Shard, number))
		}
		if !s.whole() {
			if err := c.hasSeqNos(ctx, what); err != nil {
				return nil, err
			}
		}
	}
	counted, err := c.countWhole(ctx, index, types, shards)
	if err != nil {
		return nil, err
	}
	sums := make([]ShardChecksum, len(shards))
	var scans []*scan
	at := map[*scan]int{}
	for i, wanted := range shards {
		sums[i].Shard = wanted.Shard
		for _, named := range types {
			s := base
			s.types, s.shard, s.answering = named, wanted.Shard, 1
			if !wanted.whole() {
				s.where, s.counts = wanted.where(s.numbered), true
			} else if len(options.ShardDocs) == number {
				s.small = options.ShardDocs[wanted.Shard] <= int64(s.size)
			}
			at[&s] = i
			scans = append(scans, &s)
		}
	}
	err = c.scanAll(ctx, scans, options, func(s *scan, part Checksum) {
		sum := &sums[at[s]]
		sum.Add(part)
		sum.Took += s.took
	})
	if err != nil {
		return nil, err
	}
	var read int64
	for i, sum := range sums {
		if shards[i].whole() {
			read += sum.Docs
		}
	}
	if read != counted {
		return nil, c.fail(what, Unavailable, fmt.Sprintf("its shards gave %d documents instead of %d: check whether "+
			"somebody writes to the index", read, counted))
	}
	return sums, nil
}

// shardsAtOnce keeps a request that names shards below longestPath.
const shardsAtOnce = 500

// countWhole counts the documents of the shards that are read whole.
func (c *Client) countWhole(ctx context.Context, index string, types [][]string, shards []ShardScan) (int64, error) {
	var whole []int
	for _, s := range shards {
		if s.whole() {
			whole = append(whole, s.Shard)
		}
	}
	if len(whole) == 0 {
		return 0, nil
	}
	what := call{operation: "count documents", subject: index, slow: true}
	var total int64
	for _, named := range types {
		for batch := range slices.Chunk(whole, shardsAtOnce) {
			n, err := c.countShards(ctx, what, index, named, batch, nil)
			if err != nil {
				return 0, err
			}
			total += n
		}
	}
	return total, nil
}
