package migration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
)

// IndexList is a list of the source's indices, sorted by name, as a round found them. If it is too
// long for a payload it is stored, and About has what a workflow needs to know of a list that it
// doesn't see.
type IndexList struct {
	// Inline is the list itself; nil if it is stored.
	Inline []Index
	// About is nil of an inline list.
	About *AboutIndices
	// Warnings are about indices that are left out. Nobody keeps them with the list, and neither NotHot.
	Warnings []string
	// NotHot are left out because of the storage that they lie in; nil if none is.
	NotHot *NotHot
}

// AboutIndices stands for a stored list of indices, and sums it up.
type AboutIndices struct {
	// IndicesOf is the list; zero if nobody needs it, as in a preflight, which writes nothing.
	IndicesOf Stored[[]Index] `json:"indicesOf,omitzero"`
	Count     int             `json:"count"`
	Shards    int64           `json:"shards"`
	Docs      int64           `json:"docs"`
	Bytes     int64           `json:"bytes"`
	// Identity is a digest of names and UUIDs: two lists with the same one are the same indices.
	Identity string `json:"identity"`
	// First are those that a status shows.
	First []Index `json:"first,omitempty"`
	// CountedOf are the operations that each index has counted, and Since those that were counted
	// after what the request had seen.
	CountedOf Stored[map[string]int64] `json:"countedOf,omitzero"`
	Since     int64                    `json:"since,omitempty"`
	// Moved are those that were asked for by name and that were written or deleted since.
	Moved []string `json:"moved,omitempty"`
}

// ListIndices is an inline list.
func ListIndices(indices []Index) IndexList { return IndexList{Inline: indices} }

// warned is an IndexList as JSON with what is left out.
type warned struct {
	*AboutIndices
	Inline   []Index  `json:"inline,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	NotHot   *NotHot  `json:"notHot,omitempty"`
}

// MarshalJSON writes an array, or what stands for a stored list, or either in an object with what is
// left out.
func (l IndexList) MarshalJSON() ([]byte, error) {
	if len(l.Warnings) > 0 || l.NotHot != nil {
		return json.Marshal(warned{l.About, l.Inline, l.Warnings, l.NotHot})
	}
	if l.About == nil {
		return json.Marshal(l.Inline)
	}
	return json.Marshal(l.About)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *IndexList) UnmarshalJSON(text []byte) error {
	*l = IndexList{}
	if len(text) == 0 || text[0] != '{' {
		return json.Unmarshal(text, &l.Inline)
	}
	var read warned
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	l.About, l.Inline, l.Warnings, l.NotHot = read.AboutIndices, read.Inline, read.Warnings, read.NotHot
	return nil
}

// IsZero tells whether the list is empty, for omitzero.
func (l IndexList) IsZero() bool { return l.Len() == 0 }

// Stored tells whether the workflow doesn't see the list.
func (l IndexList) Stored() bool { return l.About != nil }

// Len counts the indices.
func (l IndexList) Len() int {
	if l.Stored() {
		return l.About.Count
	}
	return len(l.Inline)
}

// Names are those of an inline list, for a request's Indices. For a stored one there is Of.
func (l IndexList) Names() []string {
	if l.Stored() {
		return nil
	}
	return IndexNames(l.Inline)
}

// Of is a stored list, for a request's IndicesOf; the zero value of an inline one.
func (l IndexList) Of() Stored[[]Index] {
	if l.Stored() {
		return l.About.IndicesOf
	}
	return Stored[[]Index]{}
}

// Docs counts live documents of the primaries.
func (l IndexList) Docs() int64 {
	if l.Stored() {
		return l.About.Docs
	}
	var docs int64
	for _, index := range l.Inline {
		docs += index.Docs
	}
	return docs
}

// Shards counts the primaries.
func (l IndexList) Shards() int64 {
	if l.Stored() {
		return l.About.Shards
	}
	var shards int64
	for _, index := range l.Inline {
		shards += int64(index.Shards)
	}
	return shards
}

// First are the indices that a status shows, at most so many.
func (l IndexList) First(most int) []Index {
	first := l.Inline
	if l.Stored() {
		first = l.About.First
	}
	return first[:min(len(first), most)]
}

// SameIndices tells whether two lists hold the very same indices, whatever is in them: an index
// that was deleted and created again is another one.
func (l IndexList) SameIndices(other IndexList) bool { return l.Identity() == other.Identity() }

// Identity is a digest of names and UUIDs.
func (l IndexList) Identity() string {
	if l.Stored() {
		return l.About.Identity
	}
	return IdentityOf(l.Inline)
}

// IdentityOf is a digest of the names and UUIDs of indices in their order.
func IdentityOf(indices []Index) string {
	hash := sha256.New()
	for _, index := range indices {
		hash.Write([]byte(index.Name + "/" + index.UUID + "\n"))
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// MovedSince tells whether an index was written or deleted since its operations were counted.
func MovedSince(name string, now, seen map[string]int64) bool {
	counted, there := now[name]
	before, known := seen[name]
	return !there || !known || counted != before
}

// LeftNamed is how many of the indices that have left the source are named.
const LeftNamed = 10

// LeftBehind names, sorted, the indices that have counters on the target and are not present on the
// source.
func LeftBehind(counters WriteCounters, present []string) []string {
	there := map[string]bool{}
	for _, name := range present {
		there[name] = true
	}
	var gone []string
	for name := range counters {
		if !there[name] {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	return gone
}

// CountedWrites are the operations that each index has counted.
func CountedWrites(indices []Index) map[string]int64 {
	counted := map[string]int64{}
	for _, index := range indices {
		counted[index.Name] = index.Writes
	}
	return counted
}

// WritesSince counts the operations on indices after those that were seen. A counter that has gone
// back began again, with its shard. Of an index that wasn't seen its documents count.
func WritesSince(indices []Index, seen map[string]int64) int64 {
	var writes int64
	for _, index := range indices {
		before, known := seen[index.Name]
		switch {
		case !known:
			writes += max(index.Writes, index.Docs)
		case index.Writes >= before:
			writes += index.Writes - before
		default:
			writes += index.Writes
		}
	}
	return writes
}
