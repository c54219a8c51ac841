package repositorytest

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
)

func generated(seed uint64) (*Repository, string) {
	r := New(seed, Options{Compress: true, KeepCommits: true})
	uuid := r.Snapshot("base", EmptyIndex("books", 3), EmptyIndex("films", 2),
		AddFiles("books", 30, LogNormal(200, 1000, 1<<20)), AddFiles("films", 14, FixedSize(77)))
	return r, uuid
}

func TestTheSameSeedGeneratesTheSameRepository(t *testing.T) {
	a, _ := generated(1)
	b, _ := generated(1)
	c, _ := generated(2)
	require.Equal(t, a.Objects(), b.Objects())
	require.NotEqual(t, a.Objects(), c.Objects())
}

func TestGeneratedFilesAreCountedAndReadable(t *testing.T) {
	r, uuid := generated(1)
	blobs := r.Blobs(uuid)
	require.Len(t, blobs, 3*(30+1)+2*(14+1), "the files and a segments_N in each shard")
	for key, data := range r.Objects() {
		k := repository.Classify(key)
		if k.Class != repository.ClassShardSnapshot {
			continue
		}
		snapshot, err := repository.ParseShardSnapshot(data)
		require.NoError(t, err)
		names := map[string]bool{}
		for _, f := range snapshot.Files {
			require.False(t, names[f.PhysicalName], f.PhysicalName)
			names[f.PhysicalName] = true
			content := r.Objects()[strings.TrimSuffix(key, "snap-"+uuid+".dat")+f.Name]
			require.Len(t, content, int(f.Length))
			require.Equal(t, f.Checksum, file{content: content}.checksum())
		}
	}
}

func TestAShardWithoutChangesHasNothingNew(t *testing.T) {
	r, first := generated(1)
	before := r.Blobs(first)
	same := r.Snapshot("same")
	require.Equal(t, before, r.Blobs(same))
	more := r.Snapshot("more", AddFiles("films", 2, FixedSize(10)))
	added := 0
	for key := range r.Blobs(more) {
		if _, ok := before[key]; !ok {
			added++
		}
	}
	require.Equal(t, 2*(2+1), added, "two files and a segments_N in each shard of films")
}

func TestNeededLeavesOnlyOlderRootsOut(t *testing.T) {
	r, _ := generated(1)
	r.Snapshot("same")
	all, needed := r.Objects(), r.Needed()
	require.Len(t, needed, len(all)-1)
	require.Contains(t, all, repository.RootIndexKey(0))
	require.NotContains(t, needed, repository.RootIndexKey(0))
	require.Contains(t, needed, repository.RootIndexKey(1))
}

func TestLogNormal(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const n = 100_000
	sizes, draw, total := make([]int, n), LogNormal(2048, 20_480, 16<<20), 0
	for i := range sizes {
		sizes[i] = draw(rng)
		total += sizes[i]
	}
	slices.Sort(sizes)
	require.InEpsilon(t, 2048, sizes[n/2], 0.03)
	require.InEpsilon(t, 20_480, total/n, 0.15)
	require.Positive(t, sizes[0])
	require.LessOrEqual(t, sizes[n-1], 16<<20)
}

func TestContentsDiffer(t *testing.T) {
	r := New(1)
	require.False(t, bytes.Equal(r.cut(4096), r.cut(4096)))
	require.Len(t, r.cut(slabSpread+5), slabSpread+5)
}
