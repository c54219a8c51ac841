// Package sides reads a repository as it stands on one side, S3 or OSS, and both sides in step.
//
// The copy and the audit ask the same three things. What does this side hold? [Store.ReadSide]
// finds the highest root index-N (or the root of Elasticsearch 2.x) and gives a [Side]: what stood
// there when it was read. Is that still true? [Side.Unchanged] is the fence before anything rests
// on it: Elasticsearch changes the root before it removes what the old root needs. What stands
// below an index on both sides? A [March] merges both listings in the order of their keys and goes
// from shard to shard, so that a million keys are never in memory: only what the caller keeps for
// one shard.
//
// The package writes nothing and decides nothing. Its errors are those of packages objectstore,
// transfer and repository, and [ErrMoved]. It also holds what both callers need to do many requests
// at once.
package sides
