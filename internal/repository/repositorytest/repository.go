package repositorytest

import (
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/snapferry/snapferry/internal/repository"
)

// Layout is a version's way to lay out a repository.
type Layout int

// The layouts.
const (
	Layout55  Layout = iota // 5.5: numeric shard indices, counter-named blobs, incompatible-snapshots
	Layout710               // 7.10: shard generations and index metadata in the root, uuid-named blobs, virtual files
)

// Options of a repository.
type Options struct {
	Layout    Layout
	Compress  bool  // deflate the *.dat objects
	ChunkSize int64 // split larger files into parts; 0: never
	// KeepCommits lets a shard whose segments haven't changed since the last snapshot keep its
	// segments_N, as Elasticsearch's flush does. Without it every snapshot has something new in
	// each shard.
	KeepCommits bool
}

// Repository is a cluster and the repository that it writes.
type Repository struct {
	options    Options
	rng        *rand.Rand
	objects    map[string][]byte
	generation int64
	clock      int64
	indices    map[string]*index
	ids        map[string]string // index name -> id in the repository; never forgotten while a snapshot has it
	snapshots  []*snapshot
	slab       []byte // what the contents of AddFiles are cut from
}

type index struct {
	uuid   string
	shards []*shard
}

type shard struct {
	segments  [][]file
	counter   int // of segments
	commit    int
	committed file // segments_N as the last snapshot found it
	flushed   int  // counter at that time
}

// file is a Lucene file as a cluster holds it.
type file struct {
	name    string
	content []byte
}

func (f file) checksum() string { return strconv.FormatInt(int64(crc32.ChecksumIEEE(f.content)), 36) }

// snapshot is what a repository knows of one.
type snapshot struct {
	name, uuid string
	state      repository.State
	start      int64
	shards     map[string][][]repository.File // index name -> shard -> files
	meta       map[string]string              // index name -> metadata blob id (7.10)
	only       []string                       // the indices that it was asked for; all if there are none
}

// New makes an empty cluster and repository. The zero Options mean 5.5, plain, no chunks.
func New(seed uint64, options ...Options) *Repository {
	r := &Repository{
		rng: rand.New(rand.NewPCG(seed, 1)), objects: map[string][]byte{}, generation: -1,
		clock: 1_514_764_800_000, indices: map[string]*index{}, ids: map[string]string{},
	}
	for _, o := range options {
		r.options = o
	}
	return r
}

// Change alters the cluster before a snapshot.
type Change func(r *Repository, s *snapshot)

// CreateIndex adds an index with one segment per shard. If there is one of that name it is
// replaced: a new uuid, new shards.
func CreateIndex(name string, shards int) Change {
	return func(r *Repository, s *snapshot) {
		x := &index{uuid: r.uuid()}
		for range shards {
			x.shards = append(x.shards, &shard{})
		}
		r.indices[name] = x
		AddSegments(name, 1, 300)(r, s)
	}
}

// DeleteIndex removes an index from the cluster; snapshots keep it.
func DeleteIndex(name string) Change {
	return func(r *Repository, _ *snapshot) { delete(r.indices, name) }
}

// AddSegments writes n segments to each shard of an index, the largest file of each of about size
// bytes.
func AddSegments(name string, n, size int) Change {
	return func(r *Repository, _ *snapshot) {
		for _, sh := range r.mustIndex(name).shards {
			for range n {
				sh.segments = append(sh.segments, r.segment(sh, size/2+r.rng.IntN(size+1)))
			}
		}
	}
}

// Merge replaces all segments of each shard of an index by one.
func Merge(name string) Change {
	return func(r *Repository, _ *snapshot) {
		for _, sh := range r.mustIndex(name).shards {
			size := 0
			for _, segment := range sh.segments {
				size += len(segment[0].content)
			}
			sh.segments = [][]file{r.segment(sh, size)}
		}
	}
}

// Outcome makes the snapshot end FAILED or PARTIAL: the last shard of each index has nothing.
func Outcome(state repository.State) Change {
	return func(_ *Repository, s *snapshot) { s.state = state }
}

// Only leaves all other indices out of the snapshot.
func Only(names ...string) Change {
	return func(_ *Repository, s *snapshot) { s.only = append(s.only, names...) }
}

// Snapshot changes the cluster and snapshots all its indices, or those that [Only] names. It returns
// the snapshot's uuid.
func (r *Repository) Snapshot(name string, changes ...Change) string {
	r.clock += 60_000
	s := &snapshot{
		name: name, uuid: r.uuid(), state: repository.StateSuccess, start: r.clock,
		shards: map[string][][]repository.File{}, meta: map[string]string{},
	}
	for _, change := range changes {
		change(r, s)
	}
	for _, index := range slices.Sorted(maps.Keys(r.indices)) {
		if len(s.only) > 0 && !slices.Contains(s.only, index) {
			continue
		}
		if r.ids[index] == "" {
			r.ids[index] = r.uuid()
		}
		shards := r.indices[index].shards
		for n, sh := range shards {
			r.commit(sh)
			if s.state != repository.StateSuccess && n == len(shards)-1 {
				continue
			}
			s.shards[index] = append(s.shards[index], r.upload(index, n, sh))
		}
	}
	r.snapshots = append(r.snapshots, s)
	r.write(s)
	return s.uuid
}

// commit is what Elasticsearch does before a snapshot: it flushes the shard, which writes a new
// segments_N if there is anything new.
func (r *Repository) commit(sh *shard) {
	if r.options.KeepCommits && sh.commit > 0 && sh.flushed == sh.counter {
		return
	}
	sh.commit++
	sh.flushed = sh.counter
	sh.committed = file{
		"segments_" + strconv.FormatInt(int64(sh.commit), 36),
		fmt.Appendf(nil, "commit of %d segments at %d", len(sh.segments), r.clock),
	}
}

// Delete deletes a snapshot as DELETE _snapshot does, with every blob that no other needs. It
// panics if there is none.
func (r *Repository) Delete(name string) {
	i := slices.IndexFunc(r.snapshots, func(s *snapshot) bool { return s.name == name })
	if i < 0 {
		panic("repositorytest: no snapshot " + name)
	}
	gone := r.snapshots[i]
	r.snapshots = slices.Delete(r.snapshots, i, i+1)
	r.unlink(gone)
}

// Objects are all objects of the repository by key relative to its base path. The map is the
// caller's.
func (r *Repository) Objects() map[string][]byte { return maps.Clone(r.objects) }

// Generation is the N of the root index-N, or -1.
func (r *Repository) Generation() int64 { return r.generation }

// Needed are the objects that a reader of the repository as it stands may ask for, by key relative
// to its base path: everything but the older root index-N that 5.x keeps.
func (r *Repository) Needed() map[string][]byte {
	needed := r.Objects()
	for key := range needed {
		if k := repository.Classify(key); k.Class == repository.ClassRootIndex && k.Generation != r.generation {
			delete(needed, key)
		}
	}
	return needed
}

// IndexID is the id of an index in the repository, or "".
func (r *Repository) IndexID(name string) string { return r.ids[name] }

// Shapes are the numbers of shards of a snapshot's indices, by index id.
func (r *Repository) Shapes(uuid string) map[string]repository.Shape {
	shapes := map[string]repository.Shape{}
	for name, shards := range r.mustSnapshot(uuid).shards {
		shapes[r.ids[name]] = repository.Shape{Shards: len(shards)}
	}
	return shapes
}

// Blobs are the keys and lengths of all data blobs that a snapshot needs.
func (r *Repository) Blobs(uuid string) map[string]int64 {
	blobs := map[string]int64{}
	for name, shards := range r.mustSnapshot(uuid).shards {
		for n, files := range shards {
			for _, f := range files {
				for _, b := range f.Blobs() {
					blobs[r.shardPrefix(name, n)+b.Name] = b.Length
				}
			}
		}
	}
	return blobs
}

func (r *Repository) mustIndex(name string) *index {
	x, ok := r.indices[name]
	if !ok {
		panic("repositorytest: no index " + name)
	}
	return x
}

func (r *Repository) mustSnapshot(uuid string) *snapshot {
	for _, s := range r.snapshots {
		if s.uuid == uuid {
			return s
		}
	}
	panic("repositorytest: no snapshot with uuid " + uuid)
}

// segment makes a segment's files: the compound file, its entries and its info, the latter two
// always of one length, as Lucene's nearly are.
func (r *Repository) segment(sh *shard, size int) []file {
	name := "_" + strconv.FormatInt(int64(sh.counter), 36)
	sh.counter++
	return []file{{name + ".cfs", r.bytes(size)}, {name + ".cfe", r.bytes(120)}, {name + ".si", r.bytes(60)}}
}

func (r *Repository) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.rng.Uint32())
	}
	return b
}

func (r *Repository) uuid() string { return base64.RawURLEncoding.EncodeToString(r.bytes(16)) }

func (r *Repository) shardPrefix(index string, n int) string {
	return fmt.Sprintf("indices/%s/%d/", r.ids[index], n)
}
