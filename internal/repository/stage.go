package repository

// Stage is a step of publishing. All objects of the stages before StageRoot must stand in the target repository before the
// root is written, and the root before StageLatest: then a reader, who starts from the highest root index-N, sees either the
// repository as it was or the new one whole, whatever dies in between. Elasticsearch writes in the order of the stages
// (BlobStoreRepository); no reader can tell in which order those before the root were.
type Stage int

// The stages, in order.
const (
	StageNone          Stage = iota // never copied: temporary and unknown objects
	StageData                       // data blobs
	StageShards                     // shard snap-<uuid>.dat and shard index-*
	StageIndexMetadata              // indices/<id>/meta-*.dat
	StageSnapshots                  // root meta-*.dat and snap-*.dat, of failed attempts too, so that listings work
	StageIncompatible               // incompatible-snapshots
	// StageRoot is the root index-N: the commit. Before it the source's root is read again (the fence): if another generation
	// or other bytes stand there, what was copied may have lost blobs meanwhile, and the round starts again.
	StageRoot
	StageLatest // index.latest, last: readers that can't list find N by it
)

var stageNames = [...]string{"none", "data", "shards", "index metadata", "snapshots", "incompatible-snapshots", "root index",
	"index.latest"}

func (s Stage) String() string {
	if s < 0 || int(s) >= len(stageNames) {
		return "none"
	}
	return stageNames[s]
}

// Stage tells when an object of this class is published.
func (c Class) Stage() Stage {
	switch c {
	case ClassData:
		return StageData
	case ClassShardSnapshot, ClassShardIndex:
		return StageShards
	case ClassIndexMetadata:
		return StageIndexMetadata
	case ClassSnapshot, ClassSnapshotMetadata:
		return StageSnapshots
	case ClassIncompatible:
		return StageIncompatible
	case ClassRootIndex:
		return StageRoot
	case ClassLatest:
		return StageLatest
	default:
		return StageNone
	}
}
