package migration

import (
	"cmp"
	"slices"
)

// RestoredFiles is the physical evidence of a restore: what the shards recovered, compared with the
// lists of files that the snapshot has in OSS. It shows that the target took each file of this
// snapshot, and none of another one. That a file holds what it held is Elasticsearch's own check:
// it compares Lucene's checksum of each file that it copies.
type RestoredFiles struct {
	// Shards, Files and Bytes count what was compared and found equal.
	Shards int   `json:"shards,omitempty"`
	Files  int64 `json:"files,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"`
	// Named says that the target told each file's name and length. Elasticsearch 5.x and 6.x tell
	// only how many files a shard recovered, and how many bytes they have.
	Named bool `json:"named,omitempty"`
	// Unlike are shards that recovered other files: the first of UnlikeCount.
	Unlike      []UnlikeFiles `json:"unlike,omitempty"`
	UnlikeCount int           `json:"unlikeCount,omitempty"`
	// Unknown are indices with a shard of which nobody knows what it recovered, since it moved or its
	// node was restarted: the first of UnknownCount.
	Unknown      []string `json:"unknown,omitempty"`
	UnknownCount int      `json:"unknownCount,omitempty"`
	// Why says why nothing was compared; empty if it was.
	Why string `json:"why,omitempty"`
}

// UnlikeFiles is a shard that recovered other files than the snapshot lists.
type UnlikeFiles struct {
	Index string `json:"index"` // its name on the source
	Shard int    `json:"shard"`
	Why   string `json:"why"`
}

// Add sums up the evidence of two restores of the same round. Nil is that of none.
func (r *RestoredFiles) Add(other *RestoredFiles) *RestoredFiles {
	if r == nil || other == nil {
		return cmp.Or(r, other)
	}
	sum := RestoredFiles{
		Shards: r.Shards + other.Shards, Files: r.Files + other.Files, Bytes: r.Bytes + other.Bytes,
		Named: r.Named && other.Named, Why: cmp.Or(r.Why, other.Why),
		Unlike: slices.Concat(r.Unlike, other.Unlike), UnlikeCount: r.UnlikeCount + other.UnlikeCount,
		Unknown: slices.Concat(r.Unknown, other.Unknown), UnknownCount: r.UnknownCount + other.UnknownCount,
	}
	sum.Unlike = sum.Unlike[:min(len(sum.Unlike), MostUnlikeFiles)]
	sum.Unknown = sum.Unknown[:min(len(sum.Unknown), MostUnknownIndices)]
	return &sum
}

// Brief is the evidence without the lists.
func (r *RestoredFiles) Brief() *RestoredFiles {
	if r == nil {
		return nil
	}
	brief := *r
	brief.Unlike, brief.Unknown = nil, nil
	return &brief
}

// The most that a result names.
const (
	MostUnlikeFiles    = 20
	MostUnknownIndices = 50
)

// Same tells whether there is evidence for all shards of an index of the restore, and it says that
// they recovered the snapshot's files.
func (r *RestoredFiles) Same(index string) bool {
	if r == nil || r.Why != "" || r.UnlikeCount > len(r.Unlike) || r.UnknownCount > len(r.Unknown) {
		return false
	}
	for _, u := range r.Unlike {
		if u.Index == index {
			return false
		}
	}
	for _, name := range r.Unknown {
		if name == index {
			return false
		}
	}
	return true
}
