package migration

import "slices"

// IndexMark tells whether an index is what it was when the mark was taken: as long as its mark is
// equal, nothing was written to it, and nobody changed its mapping, settings or aliases.
type IndexMark struct {
	// UUID is that of the index: one that was deleted and created again has another one.
	UUID string `json:"uuid"`
	// Definition is a digest of mappings, settings and aliases, without what snapferry itself sets.
	Definition string `json:"definition,omitempty"`
	// Shards has one mark for each primary, by number. An empty one is not known: then the index
	// counts as changed.
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
