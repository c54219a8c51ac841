package repository

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const aUUID = "2hiUzvH3RPCp9iOeiTa6TQ"

func TestClassify(t *testing.T) {
	shard := ShardID{IndexID: "Uxom82JcSfORXgbtZ4jLSg", Number: 12}
	in := "indices/Uxom82JcSfORXgbtZ4jLSg/12/"
	for key, want := range map[string]Key{
		"index-0":                   {Class: ClassRootIndex, Generation: 0, Part: -1},
		"index-9223372036854775807": {Class: ClassRootIndex, Generation: 1<<63 - 1, Part: -1},
		"index":                     {Class: ClassRootIndex, Generation: -1, Part: -1},
		"index.latest":              {Class: ClassLatest, Generation: -1, Part: -1},
		"incompatible-snapshots":    {Class: ClassIncompatible, Generation: -1, Part: -1},
		"snap-" + aUUID + ".dat":    {Class: ClassSnapshot, UUID: aUUID, Generation: -1, Part: -1},
		"snap-nightly 1.dat.dat":    {Class: ClassSnapshot, UUID: "nightly 1.dat", Generation: -1, Part: -1},
		"meta-" + aUUID + ".dat":    {Class: ClassSnapshotMetadata, UUID: aUUID, Generation: -1, Part: -1},
		"indices/movies/meta-m.dat": {
			Class: ClassIndexMetadata, UUID: "m", Shard: ShardID{IndexID: "movies"},
			Generation: -1, Part: -1,
		},
		in + "snap-" + aUUID + ".dat": {
			Class: ClassShardSnapshot, UUID: aUUID, Shard: shard, Generation: -1,
			Part: -1,
		},
		in + "index-7": {Class: ClassShardIndex, UUID: "7", Shard: shard, Generation: 7, Part: -1},
		in + "index-" + aUUID: {
			Class: ClassShardIndex, UUID: aUUID, Shard: shard, Generation: -1,
			Part: -1, Immutable: true,
		},
		in + "__0": {Class: ClassData, Blob: "__0", Shard: shard, Generation: -1, Part: -1},
		in + "__1y2p0ij32e8e7": {
			Class: ClassData, Blob: "__1y2p0ij32e8e7", Shard: shard, Generation: -1,
			Part: -1,
		},
		in + "__a.part0": {Class: ClassData, Blob: "__a", Shard: shard, Generation: -1, Part: 0},
		in + "__" + aUUID + ".part10": {
			Class: ClassData, Blob: "__" + aUUID, Shard: shard, Generation: -1,
			Part: 10, Immutable: true,
		},
		in + "__-l7xOYYsS4--L1xc3DcpwQ": {
			Class: ClassData, Blob: "__-l7xOYYsS4--L1xc3DcpwQ", Shard: shard,
			Generation: -1, Part: -1, Immutable: true,
		},
		"pending-index-4-abc":              {Class: ClassTemporary, Generation: -1, Part: -1},
		in + "pending-index-2":             {Class: ClassTemporary, Generation: -1, Part: -1},
		"tests-V1zGZyJrR2/master.dat-temp": {Class: ClassTemporary, Generation: -1, Part: -1},
		"tests-V1zGZyJrR2":                 {Class: ClassTemporary, Generation: -1, Part: -1},
	} {
		assert.Equal(t, want, Classify(key), key)
	}
}

func TestClassifyKnowsNothingElse(t *testing.T) {
	for _, key := range []string{
		"", "/", "index-", "index--1", "index-+1", "index-01", "index-1a", "index-9223372036854775808", "snap-.dat",
		"snap-x",
		"meta-.dat", "readme.txt", "indices", "indices/", "indices/a/", "indices/a/0", "indices/a/0/", "indices//0/__0",
		"indices/a/x/__0", "indices/a/-1/__0", "indices/a/01/__0", "indices/a/65536/__0", "indices/a/0/__",
		"indices/a/0/__a b",
		"indices/a/0/__0.part", "indices/a/0/__0.part-1", "indices/a/0/__0.partx", "indices/a/0/__0.part1.part2",
		"indices/a/0/v__0", "indices/a/0/x/__0", "indices/../0/__0", "../index-1", "indices/a/0/../index-0", "/index-0",
		"index-0/", "indices/a\x00/0/__0", "indices/a\n/meta-b.dat", "indices/\xff/0/__0", "indices/a/0/index-",
		"a/index-0",
		"snap-" + strings.Repeat("x", 300) + ".dat", "tests-a/b/c", "indices\\a/0/__0",
	} {
		k := Classify(key)
		assert.Equal(t, Key{Generation: -1, Part: -1}, k, "%q is taken for %v", key, k.Class)
		assert.Equal(t, StageNone, k.Class.Stage())
	}
}

func TestKeysAreClassifiedAsBuilt(t *testing.T) {
	shard := ShardID{IndexID: aUUID, Number: 3}
	build := func(class Class, key string, err error) {
		t.Helper()
		require.NoError(t, err)
		assert.Equal(t, class, Classify(key).Class, key)
	}
	key, err := SnapshotKey(aUUID)
	build(ClassSnapshot, key, err)
	key, err = SnapshotMetadataKey(aUUID)
	build(ClassSnapshotMetadata, key, err)
	key, err = IndexMetadataKey(aUUID, aUUID)
	build(ClassIndexMetadata, key, err)
	key, err = ShardSnapshotKey(shard, aUUID)
	build(ClassShardSnapshot, key, err)
	key, err = ShardIndexKey(shard, "4")
	build(ClassShardIndex, key, err)
	key, err = DataBlobKey(shard, "__0", -1)
	build(ClassData, key, err)
	key, err = DataBlobKey(shard, "__0", 2)
	build(ClassData, key, err)
	assert.Equal(t, "indices/"+aUUID+"/3/__0.part2", key)
	build(ClassRootIndex, RootIndexKey(5), nil)
	build(ClassRootIndex, RootIndexKey(-1), nil)
	build(ClassLatest, LatestKey, nil)
	build(ClassIncompatible, IncompatibleKey, nil)
}

func TestKeysStayBelowTheBasePath(t *testing.T) {
	for _, bad := range []string{
		"", ".", "..", "a/b", "/", "../x", "..\\x", "a\x00", "a\nb", "\x7f", "\u0085", "\xff",
		strings.Repeat("x", 256),
	} {
		shard := ShardID{IndexID: bad}
		_, err := SnapshotKey(bad)
		require.Error(t, err, "%q", bad)
		_, err = SnapshotMetadataKey(bad)
		require.Error(t, err, "%q", bad)
		_, err = IndexPrefix(bad)
		require.Error(t, err, "%q", bad)
		_, err = IndexMetadataKey(bad, aUUID)
		require.Error(t, err, "%q", bad)
		_, err = IndexMetadataKey(aUUID, bad)
		require.Error(t, err, "%q", bad)
		_, err = ShardPrefix(shard)
		require.Error(t, err, "%q", bad)
		_, err = ShardSnapshotKey(ShardID{IndexID: aUUID}, bad)
		require.Error(t, err, "%q", bad)
		_, err = ShardIndexKey(ShardID{IndexID: aUUID}, bad)
		require.Error(t, err, "%q", bad)
		_, err = DataBlobKey(ShardID{IndexID: aUUID}, bad, -1)
		require.Error(t, err, "%q", bad)
		_, err = DataBlobKey(ShardID{IndexID: aUUID}, "__"+bad+"/", -1)
		require.Error(t, err, "%q", bad)
	}
	_, err := ShardPrefix(ShardID{IndexID: aUUID, Number: -1})
	require.Error(t, err)
	_, err = ShardPrefix(ShardID{IndexID: aUUID, Number: maxShards})
	require.Error(t, err)
	var format *FormatError
	require.ErrorAs(t, err, &format)
}

func TestLatest(t *testing.T) {
	n, err := ParseLatest([]byte{0, 0, 0, 0, 0, 0, 1, 2})
	require.NoError(t, err)
	assert.EqualValues(t, 258, n)
	assert.Equal(t, []byte{0, 0, 0, 0, 0, 0, 1, 2}, EncodeLatest(258))
	for _, bad := range [][]byte{nil, {1}, make([]byte, 9), {0x80, 0, 0, 0, 0, 0, 0, 0}} {
		_, err := ParseLatest(bad)
		require.Error(t, err, "%v", bad)
	}
}

func TestLatestGeneration(t *testing.T) {
	n, ok := LatestGeneration([]string{
		"index.latest", "index-9", "index-10", "index-x", "indices/a/0/index-99",
		"index-11-pending",
	})
	assert.True(t, ok)
	assert.EqualValues(t, 10, n)
	_, ok = LatestGeneration([]string{"index", "index-abc", "snap-a.dat"})
	assert.False(t, ok)
	n, ok = LatestGeneration([]string{"index-0"})
	assert.True(t, ok)
	assert.Zero(t, n)
}
