// Package elastic talks to one Elasticsearch cluster over HTTP, as snapferry needs it: the source
// on Amazon Elasticsearch Service (2.3 to 7.10) and the target on Alibaba Cloud Elasticsearch
// (5.5.3 to 8.17).
//
// It sends the request structs of go-elasticsearch's esapi over its estransport. It can't use the
// normal client, which checks the product first and refuses Elasticsearch 5.x, Amazon's 7.10 and
// OpenSearch. The package adds what the versions and the two vendors make necessary:
//
//   - AWS signatures
//   - one type for answers whose shape differs between versions
//   - errors that say what a caller should do ([Kind])
//
// Nothing here retries: the caller decides whether and when to repeat a call. Nothing here logs. A
// call that changes indices takes concrete names only, since Elasticsearch takes an empty list or a
// wildcard for "all indices". Package elastictest is a cluster for tests.
package elastic
