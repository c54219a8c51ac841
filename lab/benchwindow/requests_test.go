package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/byhand"
)

// at is a time in the made-up window, in milliseconds.
func at(ms int64) time.Time { return time.UnixMilli(1_700_000_000_000 + ms) }

func between(began, ended int64) byhand.Timed {
	return byhand.Timed{Began: at(began), Ended: at(ended)}
}

func reads(began, ended int64) request { return request{Timed: between(began, ended)} }

func writes(began, ended int64) request { return request{Timed: between(began, ended), writes: true} }

// The snapshot is asked for at 100 and, by the source's own account, runs from 150 to 400. The
// restore is asked for at 1000, and shards are restored from 1200 to 1500.
func TestOwnByRequests(t *testing.T) {
	when := asked{snapshot: at(100), restore: at(1000)}
	told := own{snapshot: between(150, 400), restore: between(1200, 1500)}
	someWrite, someRead := writes(200, 300), reads(1250, 1300)
	for _, test := range []struct {
		name              string
		source, target    []request
		snapshot, restore byhand.Timed
	}{
		{
			"as told, where no request is earlier or later",
			[]request{someWrite},
			[]request{someRead},
			between(150, 400), between(1200, 1500),
		},
		{
			"from the first request to the last write, in whatever order they are told",
			[]request{writes(450, 620), writes(410, 500), reads(130, 149), reads(110, 129)},
			[]request{reads(1100, 1130), reads(1040, 1060), someRead},
			between(110, 620), between(1040, 1500),
		},
		{
			"reads after the last write are looks whether it has ended",
			[]request{writes(420, 470), reads(480, 500), reads(900, 920)},
			[]request{someRead},
			between(150, 470), between(1200, 1500),
		},
		{
			"what came before the request for it is the way's own",
			[]request{reads(50, 90), reads(99, 120), writes(80, 99), reads(140, 145), writes(420, 430)},
			[]request{reads(600, 620), reads(999, 1040), reads(1100, 1120)},
			between(140, 430), between(1100, 1500),
		},
		{
			"a write that is still under way when the restore is asked for counts until then",
			[]request{someWrite, writes(990, 1030), writes(1010, 1040)},
			[]request{someRead},
			between(150, 1000), between(1200, 1500),
		},
		{
			"a request at the very moment counts, and one that outlasts the restore is none of its beginning",
			[]request{reads(100, 110), someWrite},
			[]request{reads(1000, 1010), reads(1490, 1600), reads(1500, 1700)},
			between(100, 400), between(1000, 1500),
		},
	} {
		found, err := ownByRequests(when, test.source, test.target, told)
		require.NoError(t, err, test.name)
		require.Equal(t, own{snapshot: test.snapshot, restore: test.restore}, found, test.name)
	}

	for _, test := range []struct {
		name           string
		source, target []request
		says           string
	}{
		{"nothing at all", nil, nil, "the source wrote nothing to S3 between "},
		{"reads only", []request{reads(200, 220)}, []request{someRead}, "the source wrote nothing to S3 between "},
		{"written before", []request{writes(10, 20)}, []request{someRead}, "the source wrote nothing to S3 between "},
		{
			"written when it was restored",
			[]request{writes(1000, 1020)},
			[]request{someRead},
			"the source wrote nothing to S3 between ",
		},
		{"nothing read", []request{someWrite}, nil, "the target read nothing from OSS between "},
		{
			"read before the restore and after it",
			[]request{someWrite},
			[]request{reads(990, 1100), reads(1500, 1510)},
			"the target read nothing from OSS between ",
		},
	} {
		_, err := ownByRequests(when, test.source, test.target, told)
		require.ErrorContains(t, err, test.says, test.name)
	}
}

// A journal is filled by a server's observer. An event tells how long a request took, and comes
// when it has ended.
func TestJournalKeepsTheRequestsOfOneKey(t *testing.T) {
	var j journal
	j.add(osstest.Event{Op: "PutObject", Writes: true, Took: 20 * time.Millisecond}, at(120))
	j.add(osstest.Event{Op: "GetObject", Took: 5 * time.Millisecond}, at(130))
	require.Equal(t, []request{writes(100, 120), reads(125, 130)}, j.all())
	j.clear()
	require.Empty(t, j.all())

	observe, before := j.of("cluster"), time.Now()
	observe(osstest.Event{Op: "GetObject", AccessKey: "copier"})
	observe(osstest.Event{Op: "PutObject", AccessKey: "cluster", Writes: true, Took: time.Hour})
	observe(osstest.Event{Op: "GetObject"})
	kept := j.all()
	require.Len(t, kept, 1)
	require.True(t, kept[0].writes)
	require.WithinRange(t, kept[0].Ended, before, time.Now())
	require.Equal(t, time.Hour, kept[0].Ended.Sub(kept[0].Began))
}

func TestCallsThatBeganSnapshotAndRestore(t *testing.T) {
	var c calls
	call := func(method, path string, status int, began, ended int64) {
		c.add(lab.Exchange{Method: method, Path: path, Status: status, Took: at(ended).Sub(at(began))}, at(ended))
	}
	_, err := c.asked("repo", "s3")
	require.EqualError(t, err, "no front end has seen PUT /_snapshot/repo/s3 succeed")
	call(http.MethodGet, "/_snapshot/repo/s3", http.StatusOK, 10, 20)
	call(http.MethodPut, "/_snapshot/repo/s2", http.StatusOK, 20, 30)
	call(http.MethodPut, "/_snapshot/repo/s3", http.StatusServiceUnavailable, 30, 40)
	call(http.MethodPut, "/_snapshot/repo/s3", 0, 40, 50)
	call(http.MethodPut, "/_snapshot/repo/s3", http.StatusOK, 100, 150)
	_, err = c.asked("repo", "s3")
	require.EqualError(t, err, "no front end has seen POST /_snapshot/repo/s3/_restore succeed")
	// Two at once: that which ends last has begun first.
	call(http.MethodPost, "/_snapshot/repo/s3/_restore", http.StatusAccepted, 1010, 1020)
	call(http.MethodPost, "/_snapshot/repo/s3/_restore", http.StatusOK, 1000, 1030)
	when, err := c.asked("repo", "s3")
	require.NoError(t, err)
	require.Equal(t, asked{snapshot: at(100), restore: at(1000)}, when)
}
