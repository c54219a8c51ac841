package repository

import "strings"

// Class is the kind of object that a key names.
type Class int

// The classes, as in the package comment.
const (
	ClassUnknown          Class = iota // Elasticsearch writes no such object; never copy
	ClassRootIndex                     // index-N; 2.x: index
	ClassLatest                        // index.latest
	ClassIncompatible                  // incompatible-snapshots
	ClassSnapshot                      // root snap-<uuid>.dat
	ClassSnapshotMetadata              // root meta-<uuid>.dat
	ClassIndexMetadata                 // indices/<id>/meta-<id>.dat
	ClassShardSnapshot                 // indices/<id>/<shard>/snap-<uuid>.dat
	ClassShardIndex                    // indices/<id>/<shard>/index-<generation>
	ClassData                          // indices/<id>/<shard>/__<name>[.partK]
	ClassTemporary                     // pending-* (unfinished writes), tests-* (verification); never copy
)

var classNames = [...]string{
	"unknown", "root index", "index.latest", "incompatible-snapshots", "snapshot",
	"snapshot metadata", "index metadata", "shard snapshot", "shard index", "data", "temporary",
}

func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return "unknown"
	}
	return classNames[c]
}

// Key is what a key tells about its object.
type Key struct {
	Class      Class
	Generation int64  // of a root index or a shard index with a number, else -1
	UUID       string // snapshot uuid, index metadata id, or a shard index's generation
	Shard      ShardID
	Blob       string // data: the name without .partK
	Part       int    // data: K, else -1
	// Immutable says that no other bytes will ever be under this key. Before names were random
	// (7.0; seen in 6.8.23, too), Elasticsearch named data blobs by a counter, and used the names
	// of deleted blobs again. So the same key can come back with other bytes of the same length
	// (elastic/elasticsearch#38941). The same holds for shard indices with a number and for the
	// objects of the root.
	Immutable bool
}

const (
	dataPrefix    = "__"
	virtualPrefix = "v__"
	partInfix     = ".part"
)

// Classify tells what a key names. The key is relative to the base path.
func Classify(key string) Key {
	k := Key{Generation: -1, Part: -1}
	parts := strings.Split(key, "/")
	base := parts[len(parts)-1]
	for _, p := range parts {
		if checkName("key", p) != nil {
			return k
		}
	}
	switch {
	case strings.HasPrefix(parts[0], "tests-") && len(parts) <= 2, strings.HasPrefix(base, "pending-"):
		k.Class = ClassTemporary
	case len(parts) == 1:
		k.classifyRoot(base)
	case parts[0] == "indices" && len(parts) == 3:
		if id, ok := between(base, "meta-"); ok {
			k.Class, k.UUID, k.Shard.IndexID = ClassIndexMetadata, id, parts[1]
		}
	case parts[0] == "indices" && len(parts) == 4:
		if n, ok := parseNumber(parts[2]); ok && n < maxShards {
			k.classifyShard(base)
			if k.Class != ClassUnknown {
				k.Shard = ShardID{IndexID: parts[1], Number: int(n)}
			}
		}
	}
	return k
}

func (k *Key) classifyRoot(base string) {
	switch base {
	case LatestKey:
		k.Class = ClassLatest
		return
	case IncompatibleKey:
		k.Class = ClassIncompatible
		return
	case LegacyRootKey:
		k.Class = ClassRootIndex
		return
	}
	if s, ok := strings.CutPrefix(base, "index-"); ok {
		if n, ok := parseNumber(s); ok {
			k.Class, k.Generation = ClassRootIndex, n
		}
	} else if id, ok := between(base, "snap-"); ok {
		k.Class, k.UUID = ClassSnapshot, id
	} else if id, ok := between(base, "meta-"); ok {
		k.Class, k.UUID = ClassSnapshotMetadata, id
	}
}

func (k *Key) classifyShard(base string) {
	if id, ok := between(base, "snap-"); ok {
		k.Class, k.UUID = ClassShardSnapshot, id
		return
	}
	if generation, ok := strings.CutPrefix(base, "index-"); ok && isToken(generation) {
		k.Class, k.UUID = ClassShardIndex, generation
		if n, ok := parseNumber(generation); ok {
			k.Generation = n
		} else {
			k.Immutable = isUUID(generation)
		}
		return
	}
	name, part, hasPart := strings.Cut(base, partInfix)
	if checkDataName(name) != nil {
		return
	}
	if hasPart {
		n, ok := parseNumber(part)
		if !ok || n > int64(1)<<31 {
			return
		}
		k.Part = int(n)
	}
	k.Class, k.Blob, k.Immutable = ClassData, name, isUUID(name[len(dataPrefix):])
}

// isUUID recognises Elasticsearch's random uuid: 16 bytes in base64, without padding. A counter in
// base 36 has 13 characters at most, so the two can't be confused.
func isUUID(s string) bool { return len(s) == 22 && isToken(s) }

// between cuts what comes before a uuid, and .dat behind it.
func between(s, before string) (string, bool) {
	s, ok := strings.CutPrefix(s, before)
	if !ok {
		return "", false
	}
	s, ok = strings.CutSuffix(s, ".dat")
	return s, ok && s != ""
}
