package main

import (
	"bytes"
	"fmt"
	"hash/crc64"
	"strings"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/migration"
)

// shape is how large a set is.
type shape struct {
	indices, shards int // shards of each index
	perShard        int // files that the first snapshot has in each shard, beside its segments_N
	sizes           repositorytest.Sizes
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// The sets, complete and, for quick runs, a tenth of them. Each is a valid repository of
// Elasticsearch 5.5.
func setA(tenth bool) shape {
	s := shape{indices: 20, shards: 5, perShard: 200, sizes: repositorytest.FixedSize(4 * kib)} // 20,000 x 4 KiB
	if tenth {
		s.indices = 2
	}
	return s
}

func setC(tenth bool) shape {
	s := shape{indices: 2, shards: 2, perShard: 8, sizes: repositorytest.FixedSize(64 * mib)} // 32 x 64 MiB
	if tenth {
		s.indices, s.shards, s.perShard = 1, 1, 3
	}
	return s
}

// setE is like what Elasticsearch leaves in a bucket: 30,000 blobs, half of them below 2 KiB, a
// mean of 20 KiB.
func setE(tenth bool) shape {
	s := shape{indices: 30, shards: 5, perShard: 199, sizes: repositorytest.LogNormal(2*kib, 20*kib, 64*mib)}
	if tenth {
		s.indices = 3
	}
	return s
}

// setE10 has ten times the blobs of E. They are smaller, since no tool reads them in the one case
// that they are there for: the delta.
func setE10(tenth bool) shape {
	s := setE(tenth)
	s.perShard, s.sizes = 1999, repositorytest.LogNormal(kib, 2*kib, mib)
	return s
}

// setF is for the fan-out: several pages of the same size, and so few objects that bandwidth is
// what limits.
func setF(tenth bool) shape {
	s := shape{indices: 4, shards: 4, perShard: 999, sizes: repositorytest.FixedSize(40 * kib)}
	if tenth {
		s.indices, s.shards = 2, 1
	}
	return s
}

// deltaSizes are those of E: the delta is the same in both.
var deltaSizes = repositorytest.LogNormal(2*kib, 20*kib, 64*mib)

// dataset is a cluster with its repository, as it grows from snapshot to snapshot.
type dataset struct {
	shape   shape
	repo    *repositorytest.Repository
	objects map[string][]byte // the repository after the last snapshot
	// before are the objects before that snapshot.
	before    map[string][]byte
	snapshot  migration.Snapshot
	base      migration.Snapshot // the snapshot before; no name if there is none
	snapshots int
	sums      map[string]sum
}

// sum is the CRC64 of an object that is length bytes from first.
type sum struct {
	first  *byte
	length int
	crc    uint64
}

var ecma = crc64.MakeTable(crc64.ECMA)

// sum is the CRC64 of an object's bytes; each is made once.
func (d *dataset) sum(name string, data []byte) uint64 {
	if len(data) == 0 {
		return 0
	}
	known, ok := d.sums[name]
	if !ok || known.first != &data[0] || known.length != len(data) {
		known = sum{&data[0], len(data), crc64.Checksum(data, ecma)}
		d.sums[name] = known
	}
	return known.crc
}

func newDataset(seed uint64, s shape) *dataset {
	return &dataset{shape: s, sums: map[string]sum{}, repo: repositorytest.New(seed,
		repositorytest.Options{Compress: true, KeepCommits: true})}
}

func (d *dataset) indices() []string {
	names := make([]string, d.shape.indices)
	for i := range names {
		names[i] = fmt.Sprintf("index-%02d", i)
	}
	return names
}

// first takes the snapshot of the complete set.
func (d *dataset) first() {
	var changes []repositorytest.Change
	for _, name := range d.indices() {
		changes = append(changes, repositorytest.EmptyIndex(name, d.shape.shards),
			repositorytest.AddFiles(name, d.shape.perShard, d.shape.sizes))
	}
	d.take(changes)
}

// next takes a snapshot with n more files in each shard; a shard that has any gets a segments_N,
// too.
func (d *dataset) next(n int) {
	var changes []repositorytest.Change
	if n > 0 {
		for _, name := range d.indices() {
			changes = append(changes, repositorytest.AddFiles(name, n, deltaSizes))
		}
	}
	d.take(changes)
}

func (d *dataset) take(changes []repositorytest.Change) {
	d.before, d.base = d.objects, d.snapshot
	name := fmt.Sprintf("bench-r%04d-a1", d.snapshots)
	d.snapshots++
	uuid := d.repo.Snapshot(name, changes...)
	d.objects = d.repo.Objects()
	d.snapshot = migration.Snapshot{Name: name, UUID: uuid, Shards: d.shape.indices * d.shape.shards}
}

// written are the objects that the last snapshot wrote, deleted those that it removed.
func (d *dataset) written() (written map[string][]byte, deleted []string) {
	written = map[string][]byte{}
	for key, data := range d.objects {
		if old, ok := d.before[key]; !ok || !bytes.Equal(old, data) {
			written[key] = data
		}
	}
	for key := range d.before {
		if _, ok := d.objects[key]; !ok {
			deleted = append(deleted, key)
		}
	}
	return written, deleted
}

// work is what a sink lacks that has nothing, or the base.
func (d *dataset) work(fromBase bool) Work {
	w := Work{
		Shards: int64(d.shape.indices * d.shape.shards), Indices: int64(d.shape.indices),
		AllBlobs: int64(len(d.repo.Blobs(d.snapshot.UUID))),
	}
	needed := d.repo.Needed()
	if fromBase {
		needed, _ = d.written()
	}
	for key, data := range needed {
		w.Objects++
		w.Bytes += int64(len(data))
		if isData(key) {
			w.Blobs++
		}
	}
	return w
}

func isData(key string) bool { return repository.Classify(key).Class == repository.ClassData }

// relative cuts a base path off a key.
func relative(basePath, key string) (string, bool) { return strings.CutPrefix(key, basePath+"/") }
