package elastic_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
)

// shards are a cluster in memory with an index of three shards, and a client of it.
type shards struct {
	t *testing.T
	*elastictest.Cluster
	client *elastic.Client
}

func newShards(t *testing.T, version string, docs int) *shards {
	t.Helper()
	c := elastictest.New(elastictest.NewStore())
	t.Cleanup(c.Close)
	c.Version = version
	c.Create("a", 3, nil)
	for i := range docs {
		require.NoError(t, c.Index("a", "d"+strconv.Itoa(i)))
	}
	client, err := elastic.New(elastic.Config{Endpoint: c.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return &shards{t, c, client}
}

// numbers are the last sequence numbers of the shards.
func (s *shards) numbers() []int64 {
	s.t.Helper()
	counters, err := s.client.WriteCounters(s.t.Context(), []string{"a"})
	require.NoError(s.t, err)
	var last []int64
	for _, shard := range counters {
		require.True(s.t, shard.Settled())
		last = append(last, shard.SeqNo.Global)
	}
	return last
}

func (s *shards) sums(options elastic.ChecksumOptions, scans ...elastic.ShardScan) []elastic.ShardChecksum {
	s.t.Helper()
	sums, err := s.client.ShardChecksums(s.t.Context(), "a", scans, options)
	require.NoError(s.t, err)
	require.Len(s.t, sums, len(scans))
	require.Zero(s.t, s.OpenScrolls())
	for i := range sums {
		require.Equal(s.t, scans[i].Shard, sums[i].Shard)
		sums[i].Took = 0
	}
	return sums
}

func (s *shards) beyond(last []int64) []elastic.ShardChecksum {
	s.t.Helper()
	var scans []elastic.ShardScan
	for shard, p := range last {
		scans = append(scans, elastic.ShardScan{Shard: shard, Beyond: &p})
	}
	return s.sums(elastic.ChecksumOptions{PageSize: 3}, scans...)
}

func (s *shards) digest(shard int, p int64) elastic.SeqNoDigest {
	s.t.Helper()
	digest, err := s.client.SeqNoDigest(s.t.Context(), "a", shard, p)
	require.NoError(s.t, err)
	settings, err := s.client.IndexSettings(s.t.Context(), []string{"a"})
	require.NoError(s.t, err)
	for _, numbered := range []bool{false, elastic.Numbered(settings["a"])} {
		count, err := s.client.CountNotBeyond(s.t.Context(), "a", shard, p, numbered)
		require.NoError(s.t, err)
		require.Equal(s.t, count, digest.Docs)
	}
	return digest
}

func TestShardChecksumsAddUpToTheIndexes(t *testing.T) {
	for _, version := range []string{"2.4.6", "5.5.2", "6.8.23", "7.10.2"} {
		s := newShards(t, version, 100)
		whole, err := s.client.Checksum(t.Context(), "a", elastic.ChecksumOptions{})
		require.NoError(t, err)
		all := []elastic.ShardScan{{Shard: 0}, {Shard: 1}, {Shard: 2}}
		for _, options := range []elastic.ChecksumOptions{{}, {PageSize: 7}, {AtOnce: 1}} {
			var total elastic.Checksum
			sums := s.sums(options, all...)
			for _, sum := range sums {
				require.Positive(t, sum.Docs)
				total.Add(sum.Checksum)
			}
			require.Equal(t, whole, total)
			require.Equal(t, []elastic.ShardChecksum{sums[2], sums[0]}, s.sums(options, all[2], all[0]))
			docs := []int64{sums[0].Docs, sums[1].Docs, sums[2].Docs}
			options.ShardDocs = docs
			require.Equal(t, sums, s.sums(options, all...))
		}
	}
}

func TestDocumentsBeyondASequenceNumber(t *testing.T) {
	for created, negated := range map[string]bool{"6000001": false, "8512000": false, "5061699": true, "": true} {
		s := newShards(t, "6.8.23", 30)
		s.Change("a", "index.version.created", created)
		s.checkBeyond(t)
		// Where each document has a number, those beyond are looked for, and not all others.
		negations := 0
		for _, body := range append(s.Bodies("POST /a/_count"), s.Bodies("POST /a/_search")...) {
			negations += strings.Count(body, "must_not")
		}
		require.Equal(t, negated, negations > 0, created)
	}
}

func (s *shards) checkBeyond(t *testing.T) {
	before := s.numbers()
	for shard, sum := range s.beyond(before) {
		require.Zero(t, sum.Docs, "nothing was written")
		require.Positive(t, s.digest(shard, before[shard]).Docs)
	}
	for shard, sum := range s.beyond([]int64{-1, -1, -1}) {
		require.Equal(t, s.sums(elastic.ChecksumOptions{}, elastic.ShardScan{Shard: shard})[0], sum, "everything")
		require.Zero(t, s.digest(shard, -1).Docs)
	}
	untouched := make([]elastic.SeqNoDigest, 3)
	for shard := range untouched {
		untouched[shard] = s.digest(shard, before[shard])
	}
	require.NoError(t, s.Index("a", "new"))
	var read int64
	for shard, sum := range s.beyond(before) {
		read += sum.Docs
		require.Equal(t, untouched[shard], s.digest(shard, before[shard]), "a new document is beyond")
	}
	require.EqualValues(t, 1, read)
	require.NoError(t, s.Index("a", "d7")) // an update leaves what is not beyond
	require.NoError(t, s.Remove("a", "d8"))
	read = 0
	var left, was int64
	for shard, sum := range s.beyond(before) {
		read += sum.Docs
		left += s.digest(shard, before[shard]).Docs
		was += untouched[shard].Docs
	}
	require.EqualValues(t, 2, read)
	require.Equal(t, was-2, left)
}

// Documents of segments that 5.x wrote have no sequence number, and those of its translog have -2.
func TestDocumentsOf5xAreBeyondEachSequenceNumber(t *testing.T) {
	s := newShards(t, "5.5.2", 30)
	s.Version = "6.8.23"
	s.Unassign("a", "d3")
	s.client, _ = elastic.New(elastic.Config{Endpoint: s.URL})
	t.Cleanup(s.client.Close)
	require.NoError(t, s.Index("a", "new"))
	last := s.numbers()
	var read, not int64
	for shard, sum := range s.beyond(last) {
		read += sum.Docs
		not += s.digest(shard, last[shard]).Docs
	}
	require.EqualValues(t, 30, read)
	require.EqualValues(t, 1, not)
	read = 0
	for shard, sum := range s.beyond([]int64{-1, -1, -1}) {
		read += sum.Docs
		count, err := s.client.CountNotBeyond(t.Context(), "a", shard, last[shard], false)
		require.NoError(t, err)
		require.Equal(t, s.digest(shard, last[shard]).Docs, count)
	}
	require.EqualValues(t, 31, read, "everything is beyond -1")
}

func TestNoSequenceNumbersBefore6(t *testing.T) {
	s := newShards(t, "5.5.2", 3)
	p := int64(1)
	_, err := s.client.ShardChecksums(t.Context(), "a", []elastic.ShardScan{{Beyond: &p}}, elastic.ChecksumOptions{})
	require.Equal(t, elastic.NotSupported, elastic.KindOf(err), "%v", err)
	_, err = s.client.CountNotBeyond(t.Context(), "a", 0, p, false)
	require.Equal(t, elastic.NotSupported, elastic.KindOf(err), "%v", err)
	_, err = s.client.SeqNoDigest(t.Context(), "a", 0, p)
	require.Equal(t, elastic.NotSupported, elastic.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "Elasticsearch 5.5.2 has no sequence numbers")
	_, err = s.client.ShardChecksums(t.Context(), "a", []elastic.ShardScan{{Shard: 3}}, elastic.ChecksumOptions{})
	require.Equal(t, elastic.Invalid, elastic.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "there is no shard 3: the index has 3")
}

// Two counts are equal if one document is lost and another came back: the digest tells, also where
// one sum would not be exact.
func TestTheDigestSeesWhatCountsDoNot(t *testing.T) {
	for what, upTo := range map[string]func(last int64) int64{
		"one sum": func(last int64) int64 { return last }, "buckets": func(int64) int64 { return 3e8 },
	} {
		t.Run(what, func(t *testing.T) {
			s, other := newShards(t, "7.10.2", 60), newShards(t, "7.10.2", 60)
			last := s.numbers()
			var digests []elastic.SeqNoDigest
			for shard, p := range last {
				digests = append(digests, s.digest(shard, upTo(p)))
				require.Equal(t, digests[shard], other.digest(shard, upTo(p)), "the same documents")
			}
			// On one cluster one document is gone, on the other one another of the same shard.
			shard, lost, kept := twoOfAShard(s)
			s.Smuggle("a", lost, 0)
			other.Smuggle("a", kept, 0)
			ours, theirs := s.digest(shard, upTo(last[shard])), other.digest(shard, upTo(last[shard]))
			require.Equal(t, digests[shard].Docs-1, ours.Docs)
			require.Equal(t, ours.Docs, theirs.Docs)
			require.NotEqual(t, ours, theirs)
		})
	}
}

// twoOfAShard are two documents of a shard.
func twoOfAShard(s *shards) (shard int, first, second string) {
	s.t.Helper()
	var ids []string
	_, err := s.client.ShardChecksums(s.t.Context(), "a", []elastic.ShardScan{{Shard: 1}}, elastic.ChecksumOptions{
		Page: func(_ context.Context, _ int, page []elastic.Document) error {
			for _, d := range page {
				ids = append(ids, d.ID)
			}
			return nil
		},
	})
	require.NoError(s.t, err)
	require.Greater(s.t, len(ids), 1)
	return 1, ids[0], ids[1]
}

func TestPagesAreLookedUpOnTheOtherCluster(t *testing.T) {
	source, target := newShards(t, "6.8.23", 40), newShards(t, "7.10.2", 40)
	for _, s := range []*shards{source, target} {
		s.Route("a", 2, "routed", "r")
	}
	unlike := func(scans ...elastic.ShardScan) []string {
		t.Helper()
		if len(scans) == 0 {
			scans = []elastic.ShardScan{{Shard: 0}, {Shard: 1}, {Shard: 2}}
		}
		var found []string
		_, err := source.client.ShardChecksums(t.Context(), "a", scans, elastic.ChecksumOptions{
			PageSize: 6, AtOnce: 1, Page: func(ctx context.Context, shard int, page []elastic.Document) error {
				unlike, err := target.client.Lookup(ctx, "a", shard, page, elastic.LookupOptions{IgnoreTypes: true})
				for _, u := range unlike {
					found = append(found, u.String())
				}
				return err
			},
		})
		require.NoError(t, err)
		return found
	}
	require.Empty(t, unlike())
	target.Route("a", 2, "more", "r")
	require.Empty(t, unlike(), "documents that weren't asked for are no matter")
	shard, first, second := twoOfAShard(source)
	target.Smuggle("a", first, 0)
	target.Smuggle("a", second, 9)
	require.ElementsMatch(t, []string{
		fmt.Sprintf("document %q of version 1 is missing", first),
		fmt.Sprintf("document %q has version 9 instead of 1", second),
	}, unlike())
	require.Len(t, unlike(elastic.ShardScan{Shard: shard}), 2)
	target.Route("a", 2, "routed", "x")
	source.Route("a", 2, "routed", "r")
	require.Equal(t, []string{`document "routed" (routing "r") has routing "x" instead`},
		unlike(elastic.ShardScan{Shard: 2}))
	target.Route("a", 2, "routed", "r")
	// A document in the wrong shard is missing in its own.
	source.Route("a", 0, "stray", "r")
	target.Route("a", 1, "stray", "r")
	require.Equal(t, []string{`document "stray" (routing "r") of version 1 is missing`},
		unlike(elastic.ShardScan{Shard: 0}))
}

func TestAPageThatFailsEndsTheChecksum(t *testing.T) {
	s := newShards(t, "7.10.2", 100)
	broken := errors.New("the other cluster is gone")
	_, err := s.client.ShardChecksums(t.Context(), "a", []elastic.ShardScan{{Shard: 0}}, elastic.ChecksumOptions{
		PageSize: 5, Page: func(context.Context, int, []elastic.Document) error { return broken },
	})
	require.ErrorIs(t, err, broken)
	require.Zero(t, s.OpenScrolls())
	// An index that fits into one page is read shard by shard then: a page is of one shard.
	sizes := map[int]int{}
	_, err = s.client.Checksum(t.Context(), "a", elastic.ChecksumOptions{
		AtOnce: 1, ShardDocs: []int64{34, 33, 33},
		Page: func(_ context.Context, shard int, page []elastic.Document) error {
			sizes[shard] += len(page)
			return nil
		},
	})
	require.NoError(t, err)
	require.Len(t, sizes, 3)
}

// Somebody who writes between count and search is noticed.
func TestDocumentsBeyondAreCountedFirst(t *testing.T) {
	s := newShards(t, "7.10.2", 20)
	s.During("POST /a/_search", func() { s.Route("a", 0, "late", "") })
	p := int64(-1)
	_, err := s.client.ShardChecksums(t.Context(), "a", []elastic.ShardScan{{Shard: 0, Beyond: &p}},
		elastic.ChecksumOptions{})
	require.Equal(t, elastic.Unavailable, elastic.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "check whether somebody writes to the index")
	s.During("POST /a/_search", func() { s.Route("a", 0, "later", "") })
	_, err = s.client.ShardChecksums(t.Context(), "a", []elastic.ShardScan{{Shard: 0}}, elastic.ChecksumOptions{})
	require.Equal(t, elastic.Unavailable, elastic.KindOf(err), "%v", err)
}

func TestReadsKeepToThePace(t *testing.T) {
	s := newShards(t, "7.10.2", 300)
	pace := elastic.NewPace(100)
	var waited time.Duration
	sleep := func(_ context.Context, d time.Duration) error { waited = max(waited, d); return nil }
	sums := s.sums(elastic.ChecksumOptions{Pace: pace, AtOnce: 1, PageSize: 20, Sleep: sleep},
		elastic.ShardScan{Shard: 0}, elastic.ShardScan{Shard: 1}, elastic.ShardScan{Shard: 2})
	// Nobody slept, so what is owed adds up: 300 documents at 100 a second.
	require.InDelta(t, 3, waited.Seconds(), 1)
	unlike, err := s.client.Lookup(t.Context(), "a", 0, []elastic.Document{{ID: "d1"}},
		elastic.LookupOptions{
			Pace:  pace,
			Sleep: func(context.Context, time.Duration) error { return context.Canceled },
		})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, unlike)
	require.EqualValues(t, 300, sums[0].Docs+sums[1].Docs+sums[2].Docs)

	// A slow pace asks for small pages, so that no scroll expires between two of them.
	slow := newShards(t, "7.10.2", 300)
	slow.sums(elastic.ChecksumOptions{Pace: elastic.NewPace(10), AtOnce: 1, Sleep: sleep}, elastic.ShardScan{Shard: 0})
	require.Contains(t, slow.Bodies("POST /a/_search")[0], `"size":20`)
	var none *elastic.Pace
	slow.sums(elastic.ChecksumOptions{Pace: none}, elastic.ShardScan{Shard: 0})
}
