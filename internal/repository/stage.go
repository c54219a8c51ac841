package repository

// Stage is a step of publishing. The target repository must have all objects of the stages before
// StageRoot before the root is written, and the root before StageLatest. A reader starts from the
// highest root index-N. So it sees either the repository as it was or the complete new one,
// whenever the copy is interrupted. Elasticsearch writes in the order of the stages
// (BlobStoreRepository); the order of the stages before the root makes no difference to a reader.
type Stage int

// The stages, in order.
const (
	StageNone          Stage = iota // temporary and unknown objects, which are never copied
	StageData                       // data blobs
	StageShards                     // shard snap-<uuid>.dat and shard index-*
	StageIndexMetadata              // indices/<id>/meta-*.dat
	StageSnapshots                  // root meta-*.dat and snap-*.dat, of failed attempts too, so that listings work
	StageIncompatible               // incompatible-snapshots
	// StageRoot is the root index-N: the commit. Just before it, the source's root is read again
	// (the fence). If its generation or its bytes have changed, the source may have deleted blobs
	// since, and the round starts again.
	StageRoot
	StageLatest // index.latest comes last: readers that can't list find N by it
)

var stageNames = [...]string{
	"none", "data", "shards", "index metadata", "snapshots", "incompatible-snapshots",
	"root index",
	"index.latest",
}

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
