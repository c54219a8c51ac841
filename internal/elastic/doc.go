// Package elastic talks to one Elasticsearch cluster over HTTP, as snapferry needs it: the source on Amazon Elasticsearch
// Service (2.3 to 7.10) and the target on Alibaba Cloud Elasticsearch (5.5.3 to 7.17).
//
// It sends the request structs of go-elasticsearch's esapi over its estransport, never through the normal client: that one
// checks the product first and refuses Elasticsearch 5.x, Amazon's 7.10 and OpenSearch. On top of them the package adds
// what the versions and the two vendors make necessary: AWS signatures, answers of differing shape brought into one type,
// and errors that say what a caller should do ([Kind]).
//
// Nothing here retries: whether and when a call is repeated is decided by the workflow. Nothing here logs. A call that
// changes indices takes concrete names only, since an empty list or a wildcard would mean "all indices" to Elasticsearch.
package elastic
