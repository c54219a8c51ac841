// Package audit compares the repository in OSS with the one in S3, and writes nothing.
//
// An audit reads both roots first (roots.go). They list the snapshots, and each successful snapshot
// names the objects that a restore of it reads: its metadata, that of its indices, and for each
// shard a list of files (needs.go). Then the audit goes through the listings of both sides in step
// and looks for these objects. An object is proven if both ETags are the same MD5, or if the copy
// recorded next to it what it was made of. Small objects are read and compared; a size alone proves
// nothing. A deep audit also reads every data blob from OSS (deep.go), and compares it with S3's
// ETag and with the checksum that Lucene recorded when the snapshot was taken (checksums.go). What
// is counted and found ends up in a report (tally.go): objects that are missing, objects that
// differ, and surplus ones that no snapshot needs.
//
// The repository may change during an audit. So the audit looks at both roots once more at the end.
// If one of them changed, it begins again.
//
// Whoever copies must not judge the copy: this package shares packages sides, transfer and
// repository with package ferry, and no decision. However bad the findings are, they are the result
// and no error. An *[Error] says that there is nothing to compare. All other errors are those of
// packages objectstore, transfer and repository: a repository could not be read.
package audit
