package activities

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// filesWorld has a snapshot of which the lists of files are in OSS, and a target that recovered
// these files.
type filesWorld struct {
	*world
	repository *repositorytest.Repository
	request    migration.RestoreRequest
	// recovered are lengths by name, by "index/shard".
	recovered map[string]map[string]int64
	files     int64
}

func newFilesWorld(t *testing.T, version string) *filesWorld {
	w := &filesWorld{world: newWorld(t), repository: repositorytest.New(7), recovered: map[string]map[string]int64{}}
	w.to.Version = version
	w.prepared()
	uuid := w.repository.Snapshot("s", repositorytest.CreateIndex("movies", 2),
		repositorytest.CreateIndex("catalog", 3),
		repositorytest.AddSegments("movies", 3, 500))
	w.inOSS.Replace(w.repository.Objects())
	w.request = w.restoreRequest(w.snapshot("s"))
	w.oss.SetUUID("s", uuid)
	w.request.Snapshot.UUID, w.request.Files = uuid, true
	for index, shards := range map[string]int{"movies": 2, "catalog": 3} {
		for shard := range shards {
			list, err := repository.ParseShardSnapshot(w.inOSS.Objects()[w.listKey(index, shard)])
			require.NoError(t, err)
			files := map[string]int64{}
			for _, f := range list.Files {
				files[f.PhysicalName] = f.Length
				w.files++
			}
			w.recovered[fmt.Sprintf("%s/%d", index, shard)] = files
		}
	}
	w.to.Recovered = func(index string, shard int) map[string]int64 {
		return w.recovered[fmt.Sprintf("%s/%d", index, shard)]
	}
	return w
}

func (w *filesWorld) listKey(index string, shard int) string {
	w.t.Helper()
	key, err := repository.ShardSnapshotKey(repository.ShardID{IndexID: w.repository.IndexID(index), Number: shard},
		w.request.Snapshot.UUID)
	require.NoError(w.t, err)
	return key
}

func (w *filesWorld) evidence() *migration.RestoredFiles {
	w.t.Helper()
	return must[migration.RestoreResult](w.world, w.activities.RestoreSnapshot, w.request).Files
}

func TestRestoredFilesAreTheSnapshots(t *testing.T) {
	for _, version := range []string{"5.5.3", "6.8.23", "7.10.2"} {
		w := newFilesWorld(t, version)
		w.inOSS.ResetCounts()
		found := w.evidence()
		require.Equal(t, 5, found.Shards)
		require.Equal(t, w.files, found.Files)
		require.Positive(t, found.Bytes)
		require.Equal(t, version[0] == '7', found.Named)
		require.Zero(t, found.UnlikeCount+found.UnknownCount)
		require.Empty(t, found.Why)
		require.True(t, found.Same("movies") && found.Same("catalog"))
		require.Equal(t, map[string]int{"Get": 6, "ListFolder": 1}, w.inOSS.Counts(), "the root, and a list a shard")

		// A round that restores one index reads its lists only.
		w.request.Indices = w.request.Indices[:1]
		require.Equal(t, "catalog", w.request.Indices[0].Name)
		w.inOSS.ResetCounts()
		require.Equal(t, 3, w.evidence().Shards)
		require.Equal(t, 4, w.inOSS.Counts()["Get"])
	}
	w := newFilesWorld(t, "7.10.2")
	w.request.Files = false
	w.inOSS.ResetCounts()
	require.Nil(t, w.evidence(), "an older workflow doesn't ask")
	require.Empty(t, w.inOSS.Counts())
}

func TestOtherFilesAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		change func(files map[string]int64, some string)
		says   string
		named  bool // only names tell
	}{
		"one is missing": {func(f map[string]int64, some string) { delete(f, some) }, " is missing", false},
		"one is longer":  {func(f map[string]int64, some string) { f[some]++ }, "bytes instead of", false},
		"one is more": {
			func(f map[string]int64, _ string) { f["_z.cfs"] = 7 }, "_z.cfs is not in the snapshot",
			false,
		},
		"another name": {
			func(f map[string]int64, some string) { f["_z.cfs"] = f[some]; delete(f, some) },
			"_z.cfs is not in the snapshot", true,
		},
	} {
		for _, version := range []string{"5.5.3", "7.10.2"} {
			t.Run(name+" "+version, func(t *testing.T) {
				w := newFilesWorld(t, version)
				files := w.recovered["movies/1"]
				for some := range files {
					c.change(files, some)
					break
				}
				found := w.evidence()
				if c.named && version[0] == '5' {
					require.True(t, found.Same("movies"), "number and bytes are equal, and 5.x tells no names")
					return
				}
				require.Equal(t, 1, found.UnlikeCount)
				require.Equal(t, "movies", found.Unlike[0].Index)
				require.Equal(t, 1, found.Unlike[0].Shard)
				require.Contains(t, found.Unlike[0].Why, "and the snapshot lists")
				if version[0] == '7' {
					require.Contains(t, found.Unlike[0].Why, c.says)
				}
				require.Equal(t, 4, found.Shards)
				require.True(t, found.Same("catalog"))
				require.False(t, found.Same("movies"))
			})
		}
	}
}

// A primary that moved, or whose node was restarted, no longer tells what it recovered.
func TestWhatMovedSinceIsUnknown(t *testing.T) {
	w := newFilesWorld(t, "7.10.2")
	w.to.On("GET /*/_recovery", 100, func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("detailed") == "true" {
			w.to.RestartNode()
		}
		return false
	})
	found := w.evidence()
	require.Equal(t, 2, found.UnknownCount)
	require.ElementsMatch(t, []string{"movies", "catalog"}, found.Unknown)
	require.False(t, found.Same("movies"))
	require.Zero(t, found.Shards)
}

// What can't be read is no evidence, and no failure of the restore.
func TestListsThatCanNotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(w *filesWorld)
		says   string
	}{
		"a list is gone": {func(w *filesWorld) { w.inOSS.Remove(w.listKey("movies", 1)) }, "snap-"},
		"a list is damaged": {func(w *filesWorld) {
			key := w.listKey("movies", 1)
			data := w.inOSS.Objects()[key]
			w.inOSS.Store(key, data[:len(data)-3])
		}, "shard snapshot"},
		"no root":               {func(w *filesWorld) { w.inOSS.Replace(nil) }, "the repository has no root"},
		"the snapshot isn't in": {func(w *filesWorld) { w.inOSS.Replace(repositorytest.New(9).Objects()) }, "root"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newFilesWorld(t, "7.10.2")
			c.break_(w)
			found := w.evidence()
			require.Contains(t, found.Why, c.says)
			require.Contains(t, found.Why, "read the lists of files of snapshot s in OSS")
			require.False(t, found.Same("movies"))
			require.LessOrEqual(t, len(found.Why), longestWhy+4)
		})
	}
}

// The evidence of a rehearsal is by the names that the indices have on the source.
func TestRestoredFilesOfARehearsal(t *testing.T) {
	w := newFilesWorld(t, "7.10.2")
	w.run.Plan.Rehearsal = true
	w.request.Run = w.run
	w.prepared()
	w.to.Recovered = func(index string, shard int) map[string]int64 {
		for name, files := range w.recovered {
			if source, number, _ := strings.Cut(name, "/"); w.run.TargetIndex(source) == index &&
				number == fmt.Sprint(shard) {
				return files
			}
		}
		return nil
	}
	found := w.evidence()
	require.Equal(t, 5, found.Shards, "%+v", found)
	require.True(t, found.Same("movies"))
}

func TestManyUnlikeShardsAreCounted(t *testing.T) {
	few := byShards([]migration.Index{
		{Name: "a", Shards: 150},
		{Name: "b", Shards: 50},
		{Name: "c", Shards: 1},
		{Name: "d", Shards: 900},
		{Name: "e"},
	})
	require.Equal(t, [][]string{{"a", "b"}, {"c"}, {"d"}, {"e"}}, few)
	long := migration.RestoredFiles{UnlikeCount: 3, Unlike: []migration.UnlikeFiles{{Index: "a"}}}
	require.False(t, long.Same("b"), "b may be among those that aren't named")
	var none *migration.RestoredFiles
	require.False(t, none.Same("b"))
}
