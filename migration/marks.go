package migration

import (
	"slices"
	"strings"
)

// IndexMark tells whether an index is what it was when the mark was taken: as long as its mark is
// equal, nothing was written to it, and nobody changed its mapping, settings or aliases.
type IndexMark struct {
	// UUID is that of the index: one that was deleted and created again has another one.
	UUID string `json:"uuid"`
	// Definition is a digest of mappings, settings and aliases, without what snapferry itself sets.
	Definition string `json:"definition,omitempty"`
	// Shards has one mark for each primary, by number. What writes change stands before the first
	// slash, what moving a shard or restarting a node changes behind it. An empty mark is not known:
	// then the index counts as changed.
	Shards []string `json:"shards,omitempty"`
}

// IndexMarks are the marks of indices, by name.
type IndexMarks = map[string]IndexMark

// Unchanged tells whether an index is what it was when the earlier mark was taken. What is not
// known counts as a change.
func (m IndexMark) Unchanged(before IndexMark) bool {
	return m.UUID != "" && m.UUID == before.UUID && m.Definition != "" && m.Definition == before.Definition &&
		len(m.Shards) > 0 && !slices.Contains(m.Shards, "") && slices.Equal(m.Shards, before.Shards)
}

// unknown tells whether the mark of a shard is not known.
func (m IndexMark) unknown() bool { return len(m.Shards) == 0 || slices.Contains(m.Shards, "") }

// written tells whether a shard shows for certain that it was written to.
func (m IndexMark) written(before IndexMark) bool {
	if len(m.Shards) != len(before.Shards) {
		return false
	}
	for i := range m.Shards {
		now, _, known := cutLife(m.Shards[i])
		then, _, knownBefore := cutLife(before.Shards[i])
		if known && knownBefore && now != then {
			return true
		}
	}
	return false
}

// cutLife splits the mark of a shard before the primary's life. The id of a commit, before 6.0, may
// hold a slash itself.
func cutLife(mark string) (state, life string, known bool) {
	if at := strings.LastIndexByte(mark, '/'); at >= 0 {
		return mark[:at], mark[at+1:], true
	}
	return mark, "", false
}
