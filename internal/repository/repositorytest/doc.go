// Package repositorytest builds snapshot repositories for tests, object by object as Elasticsearch
// does, so that tests use the real format without a node. A [Repository] is a cluster with indices,
// shards and Lucene files, and the repository that it writes. A snapshot writes what is new, and a
// delete removes what no snapshot needs any more. In the 5.5 layout the names of deleted blobs come
// back with other bytes, as they do in real repositories.
//
// The same seed and calls give the same bytes. It is for tests only.
package repositorytest
