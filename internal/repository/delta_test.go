package repository_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	rt "github.com/snapferry/snapferry/internal/repository/repositorytest"
)

var shard0 = repository.ShardID{IndexID: "Uxom82JcSfORXgbtZ4jLSg", Number: 0}

func snapshotOf(files ...repository.File) *repository.ShardSnapshot {
	return &repository.ShardSnapshot{Name: "s", Files: files}
}

func TestShardDelta(t *testing.T) {
	file := repository.File{Name: "__a", PhysicalName: "_0.cfs", Length: 25, Checksum: "c1", PartSize: 10}
	alter := func(change func(*repository.File)) *repository.ShardSnapshot {
		f := file
		change(&f)
		return snapshotOf(f)
	}
	same := snapshotOf(file)
	for title, c := range map[string]struct {
		baseShard repository.ShardID
		base      *repository.ShardSnapshot
		copied    bool
	}{
		"no base":            {shard0, nil, true},
		"the same":           {shard0, same, false},
		"an empty base":      {shard0, snapshotOf(), true},
		"another index":      {repository.ShardID{IndexID: "other", Number: 0}, same, true},
		"another shard":      {repository.ShardID{IndexID: shard0.IndexID, Number: 1}, same, true},
		"another name":       {shard0, alter(func(f *repository.File) { f.Name = "__b" }), true},
		"another length":     {shard0, alter(func(f *repository.File) { f.Length = 26 }), true},
		"another checksum":   {shard0, alter(func(f *repository.File) { f.Checksum = "c2" }), true},
		"another part size":  {shard0, alter(func(f *repository.File) { f.PartSize = 11 }), true},
		"no checksum before": {shard0, alter(func(f *repository.File) { f.Checksum = "" }), true},
	} {
		t.Run(title, func(t *testing.T) {
			d, err := repository.ShardDelta(shard0, same, c.baseShard, c.base)
			require.NoError(t, err)
			if !c.copied {
				assert.Equal(t, repository.Delta{SkippedBlobs: 3, SkippedBytes: 25}, d)
				return
			}
			at := "indices/Uxom82JcSfORXgbtZ4jLSg/0/__a.part"
			assert.Equal(t, repository.Delta{Bytes: 25, Blobs: []repository.Blob{
				{Key: at + "0", Length: 10, File: "_0.cfs", Checksum: "c1", Part: 0},
				{Key: at + "1", Length: 10, File: "_0.cfs", Checksum: "c1", Part: 1},
				{Key: at + "2", Length: 5, File: "_0.cfs", Checksum: "c1", Part: 2},
			}}, d)
		})
	}
}

func TestShardDeltaWithoutChecksums(t *testing.T) {
	s := snapshotOf(repository.File{Name: "__a", PhysicalName: "_0.cfs", Length: 25})
	d, err := repository.ShardDelta(shard0, s, shard0, s)
	require.NoError(t, err)
	assert.Len(t, d.Blobs, 1, "without a checksum nothing says that the bytes are the same")
}

func TestShardDeltaCountsVirtualFiles(t *testing.T) {
	s := snapshotOf(repository.File{Name: "v__a", Length: 9, Checksum: "c", MetaHash: []byte("123456789")},
		repository.File{Name: "__" + "2hiUzvH3RPCp9iOeiTa6TQ", Length: 3, Checksum: "c"})
	d, err := repository.ShardDelta(shard0, s, shard0, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, d.VirtualFiles)
	require.Len(t, d.Blobs, 1)
	assert.True(t, d.Blobs[0].Immutable)
}

func TestShardDeltaRefusesNames(t *testing.T) {
	_, err := repository.ShardDelta(shard0, snapshotOf(repository.File{Name: "__a/../../x"}), shard0, nil)
	require.Error(t, err)
	_, err = repository.ShardDelta(repository.ShardID{IndexID: "a/b"}, snapshotOf(repository.File{Name: "__a"}), shard0,
		nil)
	require.Error(t, err)
}

// Random lives of a cluster: whatever was created, merged, deleted and created again, a target that
// copies each round's delta and metadata in the order of publishing holds after each round every
// snapshot whole, byte by byte.
func TestRoundsLeaveTheTargetWhole(t *testing.T) {
	for _, options := range []rt.Options{
		{},
		{Compress: true, ChunkSize: 64},
		{Layout: rt.Layout710},
		{Layout: rt.Layout710, Compress: true, ChunkSize: 100},
	} {
		cameBack := 0
		for range 5 {
			seed := rand.Uint64()
			t.Logf("seed %d, %+v", seed, options)
			l := life{
				T: t, rng: rand.New(rand.NewPCG(seed, 2)), source: rt.New(seed, options),
				target: map[string][]byte{},
			}
			for range 8 {
				l.round()
			}
			cameBack += l.cameBack
		}
		assert.Equal(t, options.Layout == rt.Layout55, cameBack > 0, "%d names came back with other bytes", cameBack)
	}
}

type life struct {
	*testing.T
	rng       *rand.Rand
	source    *rt.Repository
	target    map[string][]byte
	base      string // uuid of the last published snapshot
	n         int
	abandoned string // an attempt that the next round deletes
	cameBack  int
	indices   []string
}

// round takes a snapshot, copies, publishes and proves.
func (l *life) round() {
	l.n++
	if l.abandoned != "" {
		l.source.Delete(l.abandoned) // frees names
		l.abandoned = ""
	}
	uuid := l.source.Snapshot("r"+string(rune('a'+l.n)), l.changes()...)
	objects := l.source.Objects()
	root := rootOf(l.T, objects)
	s, ok := root.Snapshot(uuid)
	require.True(l, ok)
	shapes := shapesOf(l.T, objects, root, s)

	copied := map[string]bool{}
	for key, length := range l.deltas(objects, root, s, shapes) {
		if data, ok := objects[key]; !ok || int64(len(data)) != length {
			l.Fatalf("the delta names %s with %d bytes; there are %d", key, length, len(data))
		}
		if old, ok := l.target[key]; ok && string(old) != string(objects[key]) {
			l.cameBack++
		}
		l.target[key] = objects[key]
		copied[key] = true
	}
	groups, err := repository.MetadataOf(root, []string{uuid}, shapes)
	require.NoError(l, err)
	for _, g := range groups {
		for _, o := range g.Objects {
			if data, ok := objects[o.Key]; ok {
				l.target[o.Key] = data
			} else {
				require.True(l, o.Optional, o.Key)
			}
		}
	}
	for _, listed := range root.Successful() {
		for key, length := range l.source.Blobs(listed.UUID) { // the model's word, not the parsers'
			if data, ok := l.target[key]; !ok || int64(len(data)) != length || !bytes.Equal(data, objects[key]) {
				l.Fatalf("%s of %s is not whole; copied in this round: %v", key, listed.Name, copied[key])
			}
		}
	}
	assert.Equal(l, root.Generation, rootOf(l.T, l.target).Generation)
	l.base = uuid
	if l.rng.IntN(2) == 0 {
		// An attempt that is copied, given up before it is published, and deleted: its blobs stay
		// behind in the target.
		l.abandoned = "abandoned"
		uuid := l.source.Snapshot(l.abandoned, l.changes()...)
		objects := l.source.Objects()
		root := rootOf(l.T, objects)
		s, _ := root.Snapshot(uuid)
		for key := range l.deltas(objects, root, s, shapesOf(l.T, objects, root, s)) {
			l.target[key] = objects[key]
		}
	}
}

// deltas are the blobs that a snapshot needs beyond the base, by key.
func (l *life) deltas(objects map[string][]byte, root *repository.Root, s repository.Snapshot,
	shapes map[string]repository.Shape,
) map[string]int64 {
	out := map[string]int64{}
	for _, index := range root.IndicesOf(s.UUID) {
		for n := range shapes[index.ID].Shards {
			shard := repository.ShardID{IndexID: index.ID, Number: n}
			var base *repository.ShardSnapshot
			if key, err := repository.ShardSnapshotKey(shard, l.base); err == nil && l.target[key] != nil {
				base, err = repository.ParseShardSnapshot(l.target[key])
				require.NoError(l, err)
			}
			d, err := repository.ShardDelta(shard, shardSnapshot(l.T, objects, shard, s.UUID), shard, base)
			require.NoError(l, err)
			for _, b := range d.Blobs {
				out[b.Key] = b.Length
			}
		}
	}
	return out
}

func (l *life) changes() []rt.Change {
	var changes []rt.Change
	for _, name := range []string{"movies", "logs", "users"} {
		has := slices.Contains(l.indices, name)
		switch choice := l.rng.IntN(6); {
		case !has:
			changes = append(changes, rt.CreateIndex(name, 1+l.rng.IntN(3)))
			l.indices = append(l.indices, name)
		case choice == 0:
			changes = append(changes, rt.CreateIndex(name, 1+l.rng.IntN(3)))
		case choice == 1:
			changes = append(changes, rt.Merge(name))
		case choice == 2 && len(l.indices) > 1:
			changes = append(changes, rt.DeleteIndex(name))
			l.indices = slices.DeleteFunc(l.indices, func(s string) bool { return s == name })
		case choice > 3:
			changes = append(changes, rt.AddSegments(name, 1+l.rng.IntN(2), 200))
		}
	}
	return changes
}

func TestRepositoriesAreTheSameForASeed(t *testing.T) {
	make := func() map[string][]byte {
		r := rt.New(7, rt.Options{Layout: rt.Layout710})
		r.Snapshot("a", rt.CreateIndex("movies", 2), rt.CreateIndex("logs", 1))
		r.Snapshot("b", rt.AddSegments("movies", 2, 100))
		r.Delete("a")
		return r.Objects()
	}
	assert.Equal(t, make(), make())
}

// The published order, spelled out once.
func TestMetadataOf(t *testing.T) {
	r := rt.New(3)
	one := r.Snapshot("one", rt.CreateIndex("movies", 2), rt.CreateIndex("logs", 1))
	failed := r.Snapshot("failed", rt.Outcome(repository.StateFailed))
	two := r.Snapshot("two", rt.AddSegments("movies", 1, 100))
	objects := r.Objects()
	root := rootOf(t, objects)
	s, _ := root.Snapshot(two)
	groups, err := repository.MetadataOf(root, []string{two}, shapesOf(t, objects, root, s))
	require.NoError(t, err)
	for _, g := range groups {
		for _, o := range g.Objects {
			attempt := strings.Contains(o.Key, failed) // the source's own listing may lack it
			optional := attempt || g.Stage == repository.StageIncompatible || g.Stage == repository.StageLatest ||
				o.Class == repository.ClassShardIndex
			assert.Equal(t, optional, o.Optional, o.Key)
		}
	}
	got := map[string][]string{}
	var order []string
	for _, g := range groups {
		order = append(order, g.Stage.String())
		for _, o := range g.Objects {
			got[g.Stage.String()] = append(got[g.Stage.String()], o.Key)
		}
	}
	movies, logs := "indices/"+r.IndexID("movies"), "indices/"+r.IndexID("logs")
	sorted := func(keys ...string) []string { slices.Sort(keys); return keys }
	assert.Equal(t, []string{
		"shards", "index metadata", "snapshots", "incompatible-snapshots", "root index",
		"index.latest",
	}, order)
	assert.Equal(t, map[string][]string{
		"shards": sorted(movies+"/0/snap-"+two+".dat", movies+"/0/index-2", movies+"/1/snap-"+two+".dat", movies+
			"/1/index-1",
			logs+"/0/snap-"+two+".dat", logs+"/0/index-1"),
		"index metadata": sorted(movies+"/meta-"+two+".dat", logs+"/meta-"+two+".dat"),
		"snapshots": sorted("meta-"+one+".dat", "meta-"+two+".dat", "meta-"+failed+".dat", "snap-"+one+".dat", "snap-"+
			two+".dat",
			"snap-"+failed+".dat"),
		"incompatible-snapshots": {"incompatible-snapshots"},
		"root index":             {"index-2"},
		"index.latest":           {"index.latest"},
	}, got)
	for _, g := range groups {
		for _, o := range g.Objects {
			assert.Contains(t, objects, o.Key)
		}
	}
}

func TestMetadataOfRefuses(t *testing.T) {
	r := rt.New(3)
	one := r.Snapshot("one", rt.CreateIndex("movies", 2))
	failed := r.Snapshot("failed", rt.Outcome(repository.StatePartial))
	root := rootOf(t, r.Objects())
	shapes := r.Shapes(one)
	_, err := repository.MetadataOf(root, []string{"unknown"}, shapes)
	require.ErrorContains(t, err, "no snapshot with uuid")
	_, err = repository.MetadataOf(root, []string{failed}, shapes)
	require.ErrorContains(t, err, "PARTIAL")
	_, err = repository.MetadataOf(root, []string{one}, nil)
	require.ErrorContains(t, err, "number of shards of index")
	for id := range maps.Keys(shapes) {
		shapes[id] = repository.Shape{Shards: 2, Generations: []string{"../x"}}
	}
	_, err = repository.MetadataOf(root, []string{one}, shapes)
	require.ErrorContains(t, err, "shard generation")
}

func TestMetadataOf2(t *testing.T) {
	root, err := repository.ParseRoot(-1, []byte(`{"snapshots":["one"]}`))
	require.NoError(t, err)
	groups, err := repository.MetadataOf(root, nil, nil)
	require.NoError(t, err)
	last := groups[len(groups)-1]
	assert.Equal(t, repository.StageRoot, last.Stage)
	assert.Equal(t, "index", last.Objects[0].Key)
}
