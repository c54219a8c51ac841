package repository

import (
	"encoding/binary"
	"strings"
)

// EncodeLatest is the content of index.latest for a generation: 8 bytes, big endian. Only readers
// that can't list trust it (Elasticsearch: BlobStoreRepository.latestIndexBlobId); others use
// LatestGeneration.
func EncodeLatest(generation int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(generation))
}

// LatestGeneration finds the highest N of a root index-N among the keys of the root folder. ok is
// false if there is none: then the repository is empty, or older than 5.0 if there is an object
// "index".
func LatestGeneration(keys []string) (n int64, ok bool) {
	for _, key := range keys {
		if !strings.HasPrefix(key, "index-") {
			continue
		}
		if k := Classify(key); k.Class == ClassRootIndex && (!ok || k.Generation > n) {
			n, ok = k.Generation, true
		}
	}
	return n, ok
}
