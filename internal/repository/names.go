package repository

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is Elasticsearch's own limit for index and snapshot names, in bytes; ids and uuids are 20
// or 22.
const maxName = 255

// The root objects with fixed names.
const (
	LatestKey       = "index.latest"
	IncompatibleKey = "incompatible-snapshots"
	LegacyRootKey   = "index" // 2.x
	IndicesPrefix   = "indices/"
)

// checkName refuses names that could make a key leave its folder, or that a log would not show. Ids
// are usually base64url, but the uuid of a snapshot of 2.x is its name, so every legal name must
// pass.
func checkName(what, name string) error {
	switch {
	case name == "":
		return malformed(what, "it is empty")
	case len(name) > maxName:
		return malformed(what, "%s is longer than %d bytes", clip(name), maxName)
	case name == "." || name == "..":
		return malformed(what, "%q would leave its folder", name)
	case !utf8.ValidString(name):
		return malformed(what, "%s is not valid UTF-8", clip(name))
	}
	for _, r := range name {
		if r == '/' || r == '\\' || unicode.IsControl(r) {
			return malformed(what, "%s has a slash or a control character", clip(name))
		}
	}
	return nil
}

// checkDataName accepts a data blob's name without a part suffix. Elasticsearch: FileInfo,
// DATA_BLOB_PREFIX.
func checkDataName(name string) error {
	if !strings.HasPrefix(name, dataPrefix) || !isToken(name[len(dataPrefix):]) || len(name) > maxName {
		return malformed("data blob name", "%s is not __ followed by letters, digits, _ or -", clip(name))
	}
	return nil
}

// isToken reports whether s is one or more characters of base64url; base 36 is a part of it.
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != ""
}

// parseNumber reads a plain decimal: no sign, no leading zero, within int64.
func parseNumber(s string) (int64, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || s[0] == '+' || s[0] == '-' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// RootIndexKey is the key of the root index of a generation. A negative generation is 2.x's only
// root, "index".
func RootIndexKey(generation int64) string {
	if generation < 0 {
		return LegacyRootKey
	}
	return "index-" + strconv.FormatInt(generation, 10)
}

// SnapshotKey is the key of a snapshot's root snap-<uuid>.dat: what GET _snapshot shows.
func SnapshotKey(uuid string) (string, error) {
	return join(uuidPart{"snapshot uuid", "snap-", uuid, ".dat"})
}

// SnapshotMetadataKey is the key of a snapshot's root meta-<uuid>.dat: the cluster's global
// metadata.
func SnapshotMetadataKey(uuid string) (string, error) {
	return join(uuidPart{"snapshot uuid", "meta-", uuid, ".dat"})
}

// IndexPrefix is the folder of an index, with a slash at the end.
func IndexPrefix(indexID string) (string, error) {
	return join(uuidPart{"index id", IndicesPrefix, indexID, "/"})
}

// IndexMetadataKey is the key of an index's meta-<blob id>.dat. Before 7.9 the blob id is the
// snapshot's uuid; see Snapshot.IndexMetadataID.
func IndexMetadataKey(indexID, blobID string) (string, error) {
	return join(uuidPart{"index id", IndicesPrefix, indexID, "/"},
		uuidPart{"index metadata id", "meta-", blobID, ".dat"})
}

// ShardPrefix is the folder of a shard, with a slash at the end.
func ShardPrefix(shard ShardID) (string, error) {
	if shard.Number < 0 || shard.Number >= maxShards {
		return "", malformed("shard number", "%d is not between 0 and %d", shard.Number, maxShards-1)
	}
	return join(uuidPart{"index id", IndicesPrefix, shard.IndexID, "/"},
		uuidPart{"shard number", "", strconv.Itoa(shard.Number), "/"})
}

// ShardSnapshotKey is the key of a shard's snap-<snapshot uuid>.dat.
func ShardSnapshotKey(shard ShardID, uuid string) (string, error) {
	return inShard(shard, uuidPart{"snapshot uuid", "snap-", uuid, ".dat"})
}

// ShardIndexKey is the key of a shard's index-<generation>; the generation is a number, or from 7.6
// on a uuid.
func ShardIndexKey(shard ShardID, generation string) (string, error) {
	return inShard(shard, uuidPart{"shard generation", "index-", generation, ""})
}

// DataBlobKey is the key of a data blob; part is -1 for a file that is one blob.
func DataBlobKey(shard ShardID, name string, part int) (string, error) {
	if err := checkDataName(name); err != nil {
		return "", err
	}
	return inShard(shard, uuidPart{"data blob name", "", partName(name, part), ""})
}

// partName is a file's part as Elasticsearch names it (FileInfo.partName).
func partName(name string, part int) string {
	if part < 0 {
		return name
	}
	return name + partInfix + strconv.Itoa(part)
}

// ShardID names a shard by its index's id in the repository (2.x: its name) and its number.
type ShardID struct {
	IndexID string
	Number  int
}

type uuidPart struct{ what, before, name, after string }

func join(parts ...uuidPart) (string, error) {
	var key strings.Builder
	for _, p := range parts {
		if err := checkName(p.what, p.name); err != nil {
			return "", err
		}
		key.WriteString(p.before + p.name + p.after)
	}
	return key.String(), nil
}

func inShard(shard ShardID, last uuidPart) (string, error) {
	prefix, err := ShardPrefix(shard)
	if err != nil {
		return "", err
	}
	name, err := join(last)
	return prefix + name, err
}
