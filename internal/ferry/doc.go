// Package ferry copies one snapshot from the repository in S3 to the one in OSS and publishes it
// there.
//
// A round reads both roots ([round]). It plans which blobs the snapshots need that OSS lacks, from
// the lists of files that both sides hold ([plan]). It copies these blobs, and beside them what they
// need to be found. It proves them, and publishes: the root index-N, which is the commit, then
// index.latest. Until the root is written, a reader of OSS sees the repository as it was; from
// then on, all of the new one. A delta that is too large for one activity is cut into pages:
// [Ferry.Page] copies each, and [Ferry.Publish] publishes when it has made sure, by a listing, that
// all blobs are in OSS. While a snapshot still runs, [Ferry.Stream] copies the shards of it that
// are done. [Ferry.Ahead] copies all but the root before the snapshot has ended, and
// [Ferry.PublishAhead] publishes it then. A repository of Elasticsearch 2.x has no ids to take a
// delta by, so both sides are compared object by object ([mirror]).
//
// Whatever dies at any point, and whoever else writes to either repository, nothing that OSS lists
// may ever lack its bytes. So nothing is deleted, the root in S3 is read again right before the
// commit, and a snapshot whose names may be used again is taken from the root in OSS first
// (withdraw.go). Every step may be repeated, and copies nothing again that is proven.
//
// Failures that a person must see are an *[Error] with a kind. All others that leave the package
// are those of packages objectstore, transfer and repository.
package ferry
