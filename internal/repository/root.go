package repository

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// State is the state of a snapshot as a root index gives it. Elasticsearch: SnapshotState.
type State int

// The states. StateUnknown is for a root that gives none (before 5.3, and 2.x): then
// ParseSnapshotInfo tells.
const (
	StateUnknown      State = -1
	StateInProgress   State = 0
	StateSuccess      State = 1
	StateFailed       State = 2
	StatePartial      State = 3
	StateIncompatible State = 4
)

var stateNames = map[State]string{
	StateInProgress: "IN_PROGRESS", StateSuccess: "SUCCESS", StateFailed: "FAILED",
	StatePartial: "PARTIAL", StateIncompatible: "INCOMPATIBLE",
}

// String is the state as GET _snapshot shows it.
func (s State) String() string {
	if name, ok := stateNames[s]; ok {
		return name
	}
	return "UNKNOWN"
}

// ParseState reads a state as GET _snapshot and snap-<uuid>.dat give it.
func ParseState(name string) (State, error) {
	for s, n := range stateNames {
		if n == name {
			return s, nil
		}
	}
	return StateUnknown, malformed("snapshot state", "Elasticsearch has no state %s", clip(name))
}

// Root is a root index-N: the state of the complete repository at one generation. Elasticsearch:
// RepositoryData.
type Root struct {
	Generation int64      // N; -1 for 2.x's "index"
	UUID       string     // 7.12 and later, else empty
	ClusterID  string     // likewise
	MinVersion string     // 7.6 and later: the oldest Elasticsearch that may read it
	Snapshots  []Snapshot // in the order of the object
	Indices    []Index    // by name

	byUUID    map[string]int
	byName    map[string]int
	indicesOf map[string][]int
}

// Snapshot is one snapshot of a root.
type Snapshot struct {
	Name, UUID string
	State      State
	Version    string // of Elasticsearch, from 7.6 on

	indexMetadata map[string]string // index id -> blob id, from 7.9 on
}

// Index is one index of a root. Its id names a folder of the repository. The id stays the same if
// the index is deleted and created again under its name, so the same id doesn't mean the same
// shards.
type Index struct {
	Name, ID  string
	Snapshots []string // uuids
	// ShardGenerations are the current shard indices by shard, from 7.6 on; "" if a shard has none.
	// There may be more of them than a snapshot has shards, if the index once had more shards.
	ShardGenerations []string
}

// Snapshot finds a snapshot by its uuid.
func (r *Root) Snapshot(uuid string) (Snapshot, bool) {
	i, ok := r.byUUID[uuid]
	if !ok {
		return Snapshot{}, false
	}
	return r.Snapshots[i], true
}

// IndicesOf are the indices of a snapshot, by its uuid, sorted by name.
func (r *Root) IndicesOf(uuid string) []Index {
	indices := make([]Index, 0, len(r.indicesOf[uuid]))
	for _, i := range r.indicesOf[uuid] {
		indices = append(indices, r.Indices[i])
	}
	return indices
}

// Successful are the snapshots in state SUCCESS. They must be complete in the target before this
// root is published. If a state is StateUnknown, the caller must find it out and decide.
func (r *Root) Successful() []Snapshot {
	var out []Snapshot
	for _, s := range r.Snapshots {
		if s.State == StateSuccess {
			out = append(out, s)
		}
	}
	return out
}

// Complete adds the states and the indices of the snapshots to a root of 2.x, which has neither. It
// takes the infos of all or of some snapshots (snap-<name>.dat). A snapshot without one stays in
// StateUnknown. Elasticsearch 2.4: BlobStoreRepository.readSnapshot.
func (r *Root) Complete(infos []*SnapshotInfo) error {
	if r.Generation >= 0 {
		return errors.New("only a root of 2.x has to be completed, and this is " + RootIndexKey(r.Generation))
	}
	of := map[string][]string{}
	for _, info := range infos {
		i, ok := r.byName[info.Name]
		if !ok {
			return malformed("root "+LegacyRootKey, "it lists no snapshot %s", clip(info.Name))
		}
		for _, name := range info.Indices {
			if err := checkName("index name", name); err != nil {
				return fmt.Errorf("snapshot %s: %w", clip(info.Name), err)
			}
			if !slices.Contains(of[name], info.Name) {
				of[name] = append(of[name], info.Name)
			}
		}
		r.Snapshots[i].State = info.State
	}
	r.Indices = nil
	for name, snapshots := range of {
		r.Indices = append(r.Indices, Index{Name: name, ID: name, Snapshots: snapshots})
	}
	r.link()
	return nil
}

// IndexMetadataID is the id in the key of an index's metadata for a snapshot. From 7.9 on snapshots
// share that object if it has not changed. For snapshots of earlier versions it is the snapshot's
// uuid.
func (s Snapshot) IndexMetadataID(indexID string) string {
	if id, ok := s.indexMetadata[indexID]; ok {
		return id
	}
	return s.UUID
}

// SameMetadata tells whether two roots name the same objects for the metadata of a snapshot's indices.
// They may not, if the manager of 7.9 or later died when it had written the one root, and the next
// one ended that snapshot once more.
func (s Snapshot) SameMetadata(other Snapshot) bool {
	return s.UUID == other.UUID && maps.Equal(s.indexMetadata, other.indexMetadata)
}

// link builds the lookups of a root whose parts have been checked.
func (r *Root) link() {
	slices.SortFunc(r.Indices, func(a, b Index) int { return cmp.Compare(a.Name, b.Name) })
	r.byUUID, r.byName, r.indicesOf = map[string]int{}, map[string]int{}, map[string][]int{}
	for i, s := range r.Snapshots {
		r.byUUID[s.UUID], r.byName[s.Name] = i, i
	}
	for i, index := range r.Indices {
		for _, uuid := range index.Snapshots {
			r.indicesOf[uuid] = append(r.indicesOf[uuid], i)
		}
	}
}
