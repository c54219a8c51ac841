// Package lab starts and stops the real parts of a migration on one computer: Elasticsearch 5.5.2
// as the source and 5.5.3 as the target, an S3 server, an OSS server and Temporal's dev server. The
// demo and the end-to-end tests stand on it.
//
// Nothing here imitates what can be had for real. Both nodes are Elasticsearch itself, from Maven
// Central, started by the small Java launcher in lab/elasticsearch, whose repository types s3 and
// oss talk through Amazon's and Alibaba's own SDKs. S3 is versitygw, which checks Signature Version
// 4. Three things had to be written, because nobody offers them: the OSS server (internal/osstest),
// the front end that Amazon puts before a domain ([AmazonProxy]: SigV4 for the service es, and
// Amazon's refusals) and Alibaba's ([AlibabaProxy]: basic authentication). The two front ends have
// [Faults], so that a test can lose an answer or hold a request.
//
// [Start] brings the parts up side by side, each on a free port of 127.0.0.1, with its data and its
// log below one run directory, and returns when each of them has answered. [Lab.Close] ends them.
// Should this process be killed instead, its children still end:
//
//   - On Linux each child asks the kernel for SIGKILL at the death of its parent (prctl
//     PR_SET_PDEATHSIG). The kernel means the thread that started the child, so a goroutine stays
//     locked to that thread for as long as the child lives.
//   - Elsewhere the Elasticsearch nodes end because they read the end of their standard input;
//     Temporal and versitygw would outlive a kill -9 of the parent (not a Ctrl-C, not Close) and
//     have to be ended by the pid in their folder's pid file.
//
// The tools are built once into .lab at the root of the repository: see [EnsureTools].
package lab
