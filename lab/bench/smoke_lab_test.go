//go:build lab

package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/lab"
)

// The servers and the workers are this program again.
func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(asChild, "="); os.Getenv(name) == value {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Everything that the benchmarks do but rclone, on next to nothing.
func TestLabBench(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	b, end, err := newBench(ctx, t.TempDir(), t.Output(), options{seed: 7})
	require.NoError(t, err)
	defer func() { require.NoError(t, end()) }()
	tiny := shape{indices: 2, shards: 2, perShard: 20, sizes: repositorytest.LogNormal(500, 5000, mib)}
	at := folders{}
	require.NoError(t, b.on(ctx, "E", tiny, true, nil, func(st *stage) error {
		for _, t := range []trial{
			{set: "E", scenario: faults, runs: 1, files: -1, faultRate: faultRate},
			{set: "E", scenario: cold, runs: 2, files: -1, keep: true},
			{set: "E", scenario: noop, runs: 1, files: 0},
			{set: "E", scenario: busy, runs: 1, files: 0},
			{set: "E", scenario: delta, latencyMS: 1, runs: 2, files: 1},
		} {
			if err := b.try(ctx, st, t, at); err != nil {
				return err
			}
		}
		return b.fanout(ctx, st, 2, 1_000_000)
	}))
	b.report.judge()
	require.NoError(t, b.report.print(t.Output()))

	require.Len(t, b.report.Cases, 5)
	for _, c := range b.report.Cases {
		require.Len(t, c.Tools, 1)
		ours := c.Tools[0]
		require.True(t, ours.Verified, "%s: %s", c.name(), ours.Problem)
		require.Positive(t, ours.WallSeconds, c.name())
		require.Positive(t, ours.PeakRSSMiB, c.name())
		require.Positive(t, ours.Requests.Source["GetObject"], c.name())
		require.Positive(t, ours.Requests.Sink["PutObject"], c.name())
		switch c.Scenario {
		case faults:
			require.NotEmpty(t, ours.Injected)
		case cold:
			require.Equal(t, int64(2*2*(20+1)), c.Work.Blobs)
			require.Zero(t, ours.BytesReadTwice)
		case noop:
			require.Zero(t, c.Work.Blobs)
		case delta:
			require.Equal(t, int64(2*2*(1+1)), c.Work.Blobs)
		}
	}
	require.True(t, b.report.Fanout.Verified, b.report.Fanout.Problem)
}

// What verify is for: it finds what a tool left out or spoilt.
func TestLabVerifyFindsWhatIsWrong(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	data := newDataset(1, shape{indices: 1, shards: 1, perShard: 3, sizes: repositorytest.FixedSize(100)})
	data.first()
	st, err := newStage(ctx, t.TempDir(), data, false, 1, "whole")
	require.NoError(t, err)
	defer func() { require.NoError(t, st.close()) }()
	require.NoError(t, st.verify(ctx, sinkBase("whole")))
	require.ErrorContains(t, st.verify(ctx, sinkBase("other")), "is missing")
	require.NoError(t, st.advance(ctx, 1))
	require.ErrorContains(t, st.verify(ctx, sinkBase("whole")), "is missing")
	require.NoError(t, st.forget(ctx, sinkBase("whole")))

	// A byte that isn't the source's.
	name := ""
	for key := range data.objects {
		if isData(key) {
			name = key
		}
	}
	for key, content := range data.repo.Needed() {
		if key == name {
			content = append([]byte{}, content...)
			content[0]++
		}
		require.NoError(t, put(ctx, st.sink, sinkBucket, sinkBase("spoilt")+"/"+key, content))
	}
	require.ErrorContains(t, st.verify(ctx, sinkBase("spoilt")), name+" has other bytes")
}
