//go:build lab

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/byhand"
	"github.com/snapferry/snapferry/migration"
)

var histories = flag.String("histories", "", "folder to export a migration's history to, for replays")

// One case on next to nothing, so that the benchmark doesn't rot. Where rclone isn't built, the
// scripts are left out.
func TestLabWindow(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	root, err := lab.Root()
	require.NoError(t, err)
	const tiny = "tiny"
	sizes[tiny] = size{baseline: 2 * mib, rounds: []int64{mib}, delta: mib, indices: 3, shards: 5}
	defer func(lines size) { delete(sizes, tiny); sizes[deltaLines] = lines }(sizes[deltaLines])
	sizes[deltaLines] = size{baseline: 2 * mib, rounds: []int64{mib}, delta: mib, indices: 3, shards: 2}
	o := options{
		seed: 7, runs: 1, warmUp: tiny, deltas: []string{tiny, deltaLines}, latencies: []int{1}, line: 60,
		rclone: filepath.Join(root, ".lab", "bin", "rclone"),
	}
	if _, err := os.Stat(o.rclone); err != nil {
		o.rclone = ""
	}
	b, err := newBench(ctx, t.TempDir(), t.Output(), o)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.end()) }()
	require.NoError(t, b.all(ctx))
	b.report.judge()
	require.NoError(t, b.report.print(t.Output()))

	require.Len(t, b.report.Cases, 1, "the copy that isn't measured is none of them")
	c := b.report.Cases[0]
	require.Positive(t, c.DeltaBytes)
	ways := []Way{c.Ours}
	if o.rclone != "" {
		ways = append(ways, c.Script, c.ScriptUnthrottled)
	}
	for i, w := range ways {
		var sum float64
		for _, name := range byhand.Steps() {
			if name != byhand.StepCopy || i > 0 { // our copy may end before the snapshot does, and then takes no time
				require.Positive(t, w.Steps[name], name)
			}
			sum += w.Steps[name]
		}
		require.Positive(t, w.ElasticsearchSnapshotSeconds)
		require.Positive(t, w.ElasticsearchRestoreSeconds)
		require.Greater(t, w.ElasticsearchRequestsSnapshotSeconds, w.ElasticsearchSnapshotSeconds)
		require.Greater(t, w.ElasticsearchRequestsRestoreSeconds, w.ElasticsearchRestoreSeconds)
		require.Greater(t, w.WindowSeconds, w.ElasticsearchRequestsSeconds)
		require.LessOrEqual(t, sum, w.WindowSeconds+0.1, "the steps are parts of the window")
	}
	activities := map[string]bool{}
	for _, s := range c.Ours.Timeline {
		activities[s.Activity] = true
		require.LessOrEqual(t, float64(s.AtMS)/1000, c.Ours.WindowSeconds)
		if s.Activity == migration.ActivityTakeSnapshot || s.Activity == migration.ActivityRestoreSnapshot {
			require.Greater(t, s.Own.AfterMS, int64(0), "%s can't end before Elasticsearch does", s.Activity)
			// Another attempt finds what the one before has begun. The snapshot may be asked for, and may
			// have ended, before its activity begins.
			if s.Attempts == 1 && s.Activity == migration.ActivityRestoreSnapshot {
				require.Less(t, s.Own.AfterMS, s.RanMS)
			}
		}
	}
	for _, name := range []string{migration.ActivityAskGuard, "TakeSnapshot", "RestoreSnapshot", "VerifyTarget"} {
		require.True(t, activities[name], "the window's timeline lacks %s", name)
	}
	require.True(t, activities["CopySnapshot"] || activities["CopyAhead"])
	require.NotNil(t, b.report.Lines)
	for _, w := range []Way{b.report.Lines.InGroups, b.report.Lines.OneByOne} {
		require.Positive(t, w.WindowSeconds)
		require.Len(t, w.Windows, 1)
	}

	// Far from the buckets the cluster takes long to end a snapshot whose shards are done. It is copied,
	// published and being restored in that time. A slow computer needs it to take longer.
	b.rclone = ""
	window := map[string]Span{}
	restored := func() Span { return window[migration.ActivityRestoreSnapshot] }
	taken := func() int64 {
		taking := window[migration.ActivityTakeSnapshot]
		return taking.AtMS + taking.QueuedMS + taking.RanMS
	}
	for far := 100; restored().AtMS >= taken(); far *= 2 {
		require.LessOrEqual(t, far, 800, "nothing is restored before the snapshot's end: %v", window)
		require.NoError(t, b.one(ctx, tiny, far))
		clear(window)
		for _, s := range b.report.Cases[len(b.report.Cases)-1].Ours.Timeline {
			require.NotEqual(t, migration.ActivityPublishAhead, s.Activity, "only an older run does that")
			window[s.Activity] = s
		}
	}
	require.Contains(t, window, migration.ActivityCopyAhead)
	require.NotContains(t, window, migration.ActivityCopySnapshot)
	require.Empty(t, b.S3.Objects(b.Lab.S3.Bucket), "what a run left is removed before the next")
	if *histories != "" {
		id := migration.WorkflowID(fmt.Sprintf("shop%d", b.serial))
		require.NoError(t, b.Rig.Recording(ctx, id, filepath.Join(*histories, "asked.json")))
	}
}
