package repository

// Blob is one data blob that the target repository must have.
type Blob struct {
	Key       string // relative to the base path
	Length    int64  // bytes, or -1 if unknown
	File      string // Lucene's name of the file it belongs to
	Checksum  string // Lucene's, of the complete file
	Part      int    // which part of the file, or -1 if the blob is the complete file
	Immutable bool   // see Key.Immutable
}

// Delta is what a shard's snapshot needs beyond its base, which is another snapshot of the shard.
type Delta struct {
	Blobs []Blob // to copy, in the order of the shard snapshot's files and parts: the same input gives the same list
	Bytes int64  // of Blobs

	SkippedBlobs int // the base has them
	SkippedBytes int64
	VirtualFiles int // their content is in the shard snapshot itself, so they have no blob
}

// ShardDelta lists the blobs of a shard's snapshot that its base doesn't have. Without a base
// (nil), or if the base is of another shard, these are all its blobs. A file counts as the base's
// only if index id, shard, blob name, length, checksum and part size are equal: Elasticsearch may
// have deleted a blob that is named by a counter, and written another one under its name. A file
// without a checksum is always copied.
//
// The base must be complete in the target repository. Then its list of files says what is there.
func ShardDelta(shard ShardID, snapshot *ShardSnapshot, baseShard ShardID, base *ShardSnapshot) (Delta, error) {
	had := map[string]*File{}
	if base != nil && shard == baseShard {
		for i := range base.Files {
			had[base.Files[i].Name] = &base.Files[i]
		}
	}
	var d Delta
	for i := range snapshot.Files {
		f := &snapshot.Files[i]
		if f.Virtual() {
			d.VirtualFiles++
			continue
		}
		if old, ok := had[f.Name]; ok && sameFile(f, old) {
			d.SkippedBlobs += int(f.Parts())
			d.SkippedBytes += f.Length
			continue
		}
		if err := d.add(shard, f); err != nil {
			return Delta{}, err
		}
	}
	return d, nil
}

// ShardBlobs lists every blob of a shard's snapshot: its delta without a base.
func ShardBlobs(shard ShardID, snapshot *ShardSnapshot) ([]Blob, error) {
	d, err := ShardDelta(shard, snapshot, ShardID{}, nil)
	return d.Blobs, err
}

func sameFile(a, b *File) bool {
	return a.Name == b.Name && a.Length == b.Length && a.PartSize == b.PartSize &&
		a.Checksum == b.Checksum && a.Checksum != ""
}

func (d *Delta) add(shard ShardID, f *File) error {
	if err := checkDataName(f.Name); err != nil {
		return err
	}
	immutable := isUUID(f.Name[len(dataPrefix):])
	for _, part := range f.Blobs() {
		key, err := DataBlobKey(shard, f.Name, part.Part)
		if err != nil {
			return err
		}
		d.Blobs = append(d.Blobs, Blob{
			Key: key, Length: part.Length, File: f.PhysicalName, Checksum: f.Checksum,
			Part: part.Part, Immutable: immutable,
		})
		d.Bytes += part.Length
	}
	return nil
}
