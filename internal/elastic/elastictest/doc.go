// Package elastictest is an Elasticsearch cluster for tests, in the manner of net/http/httptest: an
// HTTP server that answers as version 5.5 does, as far as snapferry asks. It keeps its indices,
// repositories and snapshots in memory.
//
// It is faithful where a migration could go wrong:
//
//   - a restore refuses an open index, replaces the settings, and keeps the UUID
//
//   - one name that does not exist refuses the complete request
//
//   - a write block answers 403 before anything else is checked
//
//   - there is one slot for snapshots and one for restores
//
//   - from 6.0 on, an index with settings that the cluster doesn't know ([Cluster].UnknownSettings) refuses
//     most changes, until archived.* is removed
//
//   - from 7.0 on, cluster.max_shards_per_node limits what a restore or more replicas may add, and
//     mappings and documents show no types of their own
//
//   - 8.x refuses mapping types in paths, bodies and mappings, and the restore of an index that was
//     created before 7.0
//
// A slow elected master is one that refuses what doesn't give it time ([Cluster].Queue and Apply).
//
// Nothing in it takes time: a snapshot or a restore ends after a number of requests that look at it
// ([Cluster].Looks).
//
//	store := elastictest.NewStore()
//	cluster := elastictest.New(store)
//	defer cluster.Close()
//	client, err := elastic.New(elastic.Config{Endpoint: cluster.URL})
//
// A test refuses, loses or watches requests with [Cluster.Refuse], [Cluster.Lose] and [Cluster.On],
// and acts between two of them with [Cluster.During] and [Cluster.After]. It looks behind the server with
// [Cluster.Requests] and [Cluster.Bodies]. Two clusters share a [Store], or [Store.Copy] copies
// what one has published to the other's.
//
// It does not cover relocation, several nodes, other differences between versions, or queries other than the scroll
// of a checksum. It keeps no blobs: package repositorytest builds those.
package elastictest
