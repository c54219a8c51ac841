// Package repositorytest builds snapshot repositories for tests, object by object as Elasticsearch would, so that code can
// be tested against a real format without a node. A Repository models a cluster with indices, shards and Lucene files; a
// snapshot writes what is new, a delete removes what nothing needs any more, and in the 5.5 layout the names of deleted
// blobs come back with other bytes, as they do in life.
//
// The same seed and calls give the same bytes. Nothing here serves production.
package repositorytest
