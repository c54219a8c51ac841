// Package sidestest holds what tests of the copy and of the audit share: a cluster that snapshots
// into a bucket in S3, the bucket in OSS, and a reader of OSS that trusts nothing.
//
// A test takes snapshots with [World.Take], copies them with [World.Copy], which also checks all
// that OSS has then, and meddles with either bucket in between. [World.Run] copies without the
// check, for copies that must fail. How a copy is done the test says with [Steps], so the package
// knows neither the copy nor Temporal. [Legacy] is the same world with a cluster of Elasticsearch
// 2.x.
package sidestest
