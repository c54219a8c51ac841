// Package repository knows the format of an Elasticsearch snapshot repository: what each object is,
// which objects a snapshot needs, which of them are new since the last snapshot, and in which order
// they may be published. It takes bytes and gives facts; it does no I/O.
//
// A repository is a tree below a base path. Its state is the root index-N (JSON) with the highest
// N. The root lists the snapshots and, for each index, the id of its folder. Below indices/<index
// id>/<shard>/ there is one snap-<snapshot uuid>.dat for each snapshot. It names every Lucene file
// of that shard with the data blob that holds it. So a few small objects give the blobs of a
// snapshot, and the delta between two snapshots, without a listing of the bucket.
//
//	index-N                                  root: snapshots, indices, states (ParseRoot)
//	index.latest                             N in 8 bytes (EncodeLatest)
//	incompatible-snapshots                   5.2 to 7.5
//	snap-<uuid>.dat, meta-<uuid>.dat         one pair per snapshot (ParseSnapshotInfo)
//	indices/<id>/meta-<uuid>.dat             settings and mappings of an index (ParseIndexMetadata)
//	indices/<id>/<shard>/snap-<uuid>.dat     files of a shard (ParseShardSnapshot)
//	indices/<id>/<shard>/index-<generation>  all snapshots of a shard, for the writer only; not read here
//	indices/<id>/<shard>/__<name>[.partK]    data blobs
//
// The package knows the layouts of Elasticsearch 5.0 to 7.17, and that of 2.x. In 2.x names take
// the place of ids and uuids, and the root is one object called index, which names snapshots only
// (Root.Complete adds the rest). All keys in this package are relative to the base path.
//
// The input comes from a bucket, so it may be damaged or hostile. Such input gives a *FormatError.
// It never causes a panic, never takes memory or time out of proportion (see Limits), and never
// gives a key outside the base path.
//
// Sources: Elasticsearch's BlobStoreRepository, RepositoryData, ChecksumBlobStoreFormat,
// BlobStoreIndexShardSnapshot and org.elasticsearch.repositories.blobstore/package-info.java;
// Lucene's CodecUtil; the Smile format specification.
package repository
