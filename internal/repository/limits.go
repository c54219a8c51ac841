package repository

// Limits bound what one hostile object can cost in memory and time. The zero value of a field means
// its default.
type Limits struct {
	// MaxBody is the largest size of one object, and of what it inflates to, in bytes. Default 256
	// MiB: a shard snapshot has about 250 bytes for each file.
	MaxBody int64
	// MaxBlobs is the largest number of files, and of blobs (a file of 3 parts has 3), in one shard
	// snapshot. Default 1,000,000: a shard of 1 TB in chunks of 1 MB.
	MaxBlobs int
}

// maxDepth is how deep objects and arrays may be nested. A real one has 3 levels; mappings may have
// some dozens.
const maxDepth = 512

// maxEntries is the largest number of names and list elements in one object, except for a shard
// snapshot. A root of 1,000 snapshots of 1,000 indices has 2 million.
const maxEntries = 4 << 20

// maxShards is the largest number of shards of an index. Elasticsearch's own limit is 1,024, unless
// a system property raises it.
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
