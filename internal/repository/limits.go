package repository

// Limits bound what one hostile object can cost. The zero value of a field means the default.
type Limits struct {
	// MaxBody is the number of bytes of one object, and of what it inflates to. Default 256 MiB: a shard snapshot has about
	// 250 bytes a file.
	MaxBody int64
	// MaxBlobs is the number of files, and of blobs (a file of 3 parts counts as 3), in one shard snapshot. Default
	// 1,000,000: a shard of 1 TB in chunks of 1 MB.
	MaxBlobs int
}

// maxDepth of nested objects and arrays; a real one has 3, mappings may have some dozens.
const maxDepth = 512

// maxEntries in one object other than a shard snapshot: names and list elements. A root of 1,000 snapshots of 1,000 indices
// has 2 million.
const maxEntries = 4 << 20

// maxShards per index; Elasticsearch's own limit is 1,024 unless raised by a system property.
const maxShards = 1 << 16

func (l Limits) orDefault() Limits {
	if l.MaxBody <= 0 {
		l.MaxBody = 256 << 20
	}
	if l.MaxBlobs <= 0 {
		l.MaxBlobs = 1_000_000
	}
	return l
}
