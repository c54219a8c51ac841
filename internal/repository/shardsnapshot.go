package repository

import (
	"fmt"
	"math"
	"strings"
)

// ShardSnapshot is the content of indices/<id>/<shard>/snap-<uuid>.dat: every file of one shard in
// one snapshot, whether this snapshot uploaded it or an earlier one did. Elasticsearch:
// BlobStoreIndexShardSnapshot.
type ShardSnapshot struct {
	Name         string // of the snapshot
	IndexVersion int64  // Lucene commit generation, or -1
	StartTime    int64  // Unix milliseconds
	Duration     int64  // milliseconds
	NewFiles     int64  // how many files this snapshot uploaded
	NewBytes     int64
	Files        []File // in the order of the object, which never changes: so a range can name a page of blobs
}

// File is one Lucene file. Elasticsearch: BlobStoreIndexShardSnapshot.FileInfo.
type File struct {
	Name         string // of the data blob, as __0; see Virtual
	PhysicalName string // Lucene's, as _0.cfs
	Length       int64
	Checksum     string // Lucene's CRC32 in base 36; empty only for files of Lucene before 4.8
	PartSize     int64  // bytes of each part except the last; 0 if the writer had no chunk_size
	WrittenBy    string // Lucene version
	MetaHash     []byte // the complete content of small metadata files (.si, segments_N)
}

// Virtual reports that the file's content is its MetaHash, and that no object holds it (tiny files,
// from 7.7 on).
func (f *File) Virtual() bool { return strings.HasPrefix(f.Name, virtualPrefix) }

// FileBlob is one object of a file.
type FileBlob struct {
	Name   string // with .partK if the file has several
	Part   int    // K, or -1
	Length int64
}

// Parts is the number of objects that hold the file: 0 if it is virtual, 1 for an empty one.
// Elasticsearch: FileInfo.
func (f *File) Parts() int64 {
	switch {
	case f.Virtual():
		return 0
	case f.Length <= 0 || f.PartSize <= 0:
		return 1
	}
	return 1 + (f.Length-1)/f.PartSize
}

// Blobs are the objects that hold the file, in order.
func (f *File) Blobs() []FileBlob {
	n := f.Parts()
	if n == 1 {
		return []FileBlob{{Name: f.Name, Part: -1, Length: f.Length}}
	}
	blobs := make([]FileBlob, n)
	for k := range blobs {
		length := min(f.PartSize, f.Length-int64(k)*f.PartSize)
		blobs[k] = FileBlob{Name: partName(f.Name, k), Part: k, Length: length}
	}
	return blobs
}

// ParseShardSnapshot reads a shard's snap-<uuid>.dat within the default limits.
func ParseShardSnapshot(data []byte) (*ShardSnapshot, error) {
	return Limits{}.ParseShardSnapshot(data)
}

// ParseShardSnapshot reads a shard's snap-<uuid>.dat. It checks checksum, names and numbers, and
// that no two files have the same blob. The result refers to parts of data. The error is a
// *FormatError.
func (l Limits) ParseShardSnapshot(data []byte) (*ShardSnapshot, error) {
	l = l.orDefault()
	p := shardSnapshotParser{
		left: int64(l.MaxBlobs), snapshot: ShardSnapshot{IndexVersion: -1},
		names: map[string]bool{}, physical: map[string]bool{},
	}
	body, err := unframe(data, codecSnapshot, l)
	if err == nil {
		// A file entry has 8 fields; the rest is for the fields around them.
		err = readValue(body, l.MaxBlobs*16+1024, p.read)
	}
	if err != nil {
		return nil, malformed("shard snapshot", "%v", err)
	}
	return &p.snapshot, nil
}

type shardSnapshotParser struct {
	snapshot        ShardSnapshot
	left            int64 // files and blobs that may still come
	total           int64 // bytes of all files
	listed          bool
	names, physical map[string]bool
}

func (p *shardSnapshotParser) read(r *reader) error {
	s := &p.snapshot
	err := r.object(func(name string) error {
		switch name {
		case "name":
			return r.string(&s.Name)
		case "index_version":
			return r.int(&s.IndexVersion)
		case "start_time":
			return r.int(&s.StartTime)
		case "time":
			return r.int(&s.Duration)
		case "number_of_files":
			return r.count(&s.NewFiles)
		case "total_size":
			return r.count(&s.NewBytes)
		case "files":
			p.listed = true
			return r.array(func() error { return p.file(r) })
		}
		return r.skip()
	})
	switch {
	case err != nil:
		return err
	case s.Name == "":
		return fmt.Errorf("it has no snapshot name")
	case !p.listed:
		return fmt.Errorf("it has no list of files")
	}
	return nil
}

func (p *shardSnapshotParser) file(r *reader) error {
	f := File{Length: -1}
	err := r.object(func(name string) error {
		switch name {
		case "name":
			return r.string(&f.Name)
		case "physical_name":
			return r.string(&f.PhysicalName)
		case "length":
			return r.count(&f.Length)
		case "checksum":
			return r.string(&f.Checksum)
		case "part_size":
			return r.int(&f.PartSize)
		case "written_by":
			return r.string(&f.WrittenBy)
		case "meta_hash":
			return r.bytes(&f.MetaHash)
		}
		return r.skip()
	})
	if err != nil {
		return err
	}
	if err := p.check(&f); err != nil {
		return fmt.Errorf("file %s: %w", clip(f.Name), err)
	}
	p.snapshot.Files = append(p.snapshot.Files, f)
	return nil
}

func (p *shardSnapshotParser) check(f *File) error {
	if err := checkDataName(strings.TrimPrefix(f.Name, "v")); err != nil {
		return err
	}
	if err := checkName("physical name", f.PhysicalName); err != nil {
		return err
	}
	switch {
	case p.names[f.Name]:
		return fmt.Errorf("two files have its name")
	case p.physical[f.PhysicalName]:
		return fmt.Errorf("two files have the physical name %s", clip(f.PhysicalName))
	case f.Length < 0:
		return fmt.Errorf("it has no length")
	case f.PartSize < -1: // -1 is how Elasticsearch writes "no limit" for a size
		return fmt.Errorf("its part size %d is negative", f.PartSize)
	case f.Length > math.MaxInt64-p.total:
		return fmt.Errorf("its length %d is impossible", f.Length)
	}
	f.PartSize = max(f.PartSize, 0)
	p.names[f.Name], p.physical[f.PhysicalName] = true, true
	p.total += f.Length
	if p.left -= max(f.Parts(), 1); p.left < 0 {
		return fmt.Errorf("the shard has more files or blobs than the limit")
	}
	return nil
}
