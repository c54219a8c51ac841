package activities

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/migration"
)

func TestWritten(t *testing.T) {
	indices := []elastic.Index{
		{Name: "busy", Shards: 3},
		{Name: "idle", Shards: 5},
		{Name: "moved", Shards: 1},
		{Name: "new", Shards: 2},
		{Name: "fresh", Shards: 1},
		{Name: "deleted", Shards: 1},
	}
	before := map[string]elastic.Load{
		"busy": {IndexTotal: 1000, DeleteTotal: 10}, "idle": {IndexTotal: 7, DeleteTotal: 7},
		"moved": {IndexTotal: 500}, "deleted": {IndexTotal: 4},
	}
	after := map[string]elastic.Load{
		// 100 indexed, 5 deleted. A document takes 20,000/200 = 100 bytes, and merges have read 550 bytes
		// for each of 1,100 operations.
		"busy": {
			Docs: 150, Deleted: 50, Bytes: 20_000, IndexTotal: 1100, DeleteTotal: 15, MergedBytes: 605_000,
		},
		"idle": {Docs: 10, Bytes: 1000, IndexTotal: 7, DeleteTotal: 7, MergedBytes: 99},
		// Its counters began again: 20 since then, of 50 bytes each.
		"moved": {Docs: 100, Bytes: 5000, IndexTotal: 20},
		"new":   {Docs: 10, Bytes: 400, IndexTotal: 10}, // 40 bytes each
		// Not refreshed yet. In all indices 27,400 bytes are in 330 documents: 2 of them are 166 bytes.
		"fresh":   {Bytes: 1000, IndexTotal: 2},
		"deleted": {Docs: 10, IndexTotal: 4, DeleteTotal: 3},
	}
	require.Equal(t, migration.Written{
		Indexed: 100 + 20 + 10 + 2, Deleted: 5 + 3, Indices: 5, Shards: 3 + 1 + 2 + 1 + 1,
		Bytes:    20_000 + 5000 + 400 + 1000,
		NewBytes: 100*100 + 20*50 + 10*40 + 166, MergedBytes: 100 * 550,
	}, written(indices, before, after))
	require.True(t, written(indices, after, after).Nothing())
}

// What is written between the two looks is counted, and nothing else.
func TestTheSourceIsWatched(t *testing.T) {
	w := newWorld(t)
	w.run.Plan.Indices = both2
	at := time.UnixMilli(1_000_000)
	w.activities.now = func() time.Time { return at }
	w.activities.sleep = func(_ context.Context, length time.Duration) error {
		at = at.Add(length)
		return w.from.Index(both2[0], "x1", "x2", "x3")
	}
	require.NoError(t, w.from.Index(both2[1], "y1"))
	from, to := w.from.World(), w.to.World()
	request := migration.WatchWritesRequest{Run: w.run, For: migration.Duration(10 * time.Second)}
	found := must[migration.Written](w, w.activities.WatchWrites, request)
	require.EqualValues(t, 10_000, found.Millis)
	require.EqualValues(t, 3, found.Indexed)
	require.Equal(t, 1, found.Indices)
	require.Equal(t, to, w.to.World())
	require.NotEqual(t, from, w.from.World(), "or nothing was written")

	w.activities.sleep = func(context.Context, time.Duration) error { return nil }
	from = w.from.World()
	require.True(t, must[migration.Written](w, w.activities.WatchWrites, request).Nothing())
	require.Equal(t, from, w.from.World())
}
