// Package repository knows the format of an Elasticsearch snapshot repository: which object is what, what a snapshot
// needs, what of it is new since the last one, and in which order it may be published. Bytes come in, facts go out;
// there is no I/O here.
//
// A repository is a tree under a base path. The highest root index-N (JSON) is the truth: it lists the snapshots and, for
// each index, the id of its folder. Below indices/<index id>/<shard>/ stands one snap-<snapshot uuid>.dat per snapshot
// that names every Lucene file of that shard with the data blob that holds it. So the blobs of a snapshot, and the delta
// between two of them, follow from reading a handful of small objects; no bucket has to be listed.
//
//	index-N                                  root: snapshots, indices, states (ParseRoot)
//	index.latest                             N in 8 bytes (EncodeLatest)
//	incompatible-snapshots                   5.2 to 7.5
//	snap-<uuid>.dat, meta-<uuid>.dat         one pair per snapshot (ParseSnapshotInfo)
//	indices/<id>/meta-<uuid>.dat             settings and mappings of an index (ParseIndexMetadata)
//	indices/<id>/<shard>/snap-<uuid>.dat     files of a shard (ParseShardSnapshot)
//	indices/<id>/<shard>/index-<generation>  all snapshots of a shard, only for the writer; not read here
//	indices/<id>/<shard>/__<name>[.partK]    data blobs
//
// Known are the layouts of Elasticsearch 5.0 to 7.17. In 2.x names stand in for ids and uuids and the root is one object
// called index, which names snapshots only (Root.Complete adds the rest); the same functions serve it. All keys in this
// package are relative to the base path.
//
// Whatever is parsed here was written by somebody else. Damaged or hostile input gives a *FormatError: never a panic,
// never memory or time out of proportion (see Limits), never a key outside the base path.
//
// Sources: Elasticsearch's BlobStoreRepository, RepositoryData, ChecksumBlobStoreFormat, BlobStoreIndexShardSnapshot and
// org.elasticsearch.repositories.blobstore/package-info.java; Lucene's CodecUtil; the Smile format specification.
package repository
