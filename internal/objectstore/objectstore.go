// Package objectstore holds the two ports through which snapferry uses object storage: [Source],
// which is only read (S3), and [Sink], which is written (OSS). The comment on each method is its
// contract. Package objectstoretest checks the contract on every implementation: s3, oss, and
// memory, which is for tests.
//
// An implementation is bound to one bucket and one base path, and sees nothing else. Keys are
// relative to the base path, and a key that would leave it is refused (see [Base]). Calls may run
// at the same time.
//
// Every error is an *[Error], or wraps the context's error if that ended the call. An
// implementation may retry calls that have no effect: List, Head, Get, Parts, the start of
// ReadRange. The caller retries the others, since it holds the bytes.
package objectstore

import (
	"context"
	"io"
	"iter"
	"time"
)

// Object is an object as a listing shows it.
type Object struct {
	Key  string
	Size int64
	// ETag has no quotes, and is in the service's case: S3 writes hex in lower case, OSS in upper
	// case.
	ETag         string
	LastModified time.Time
}

// Info is all that is known of an object without reading it.
type Info struct {
	Object
	// ETagIsMD5 says that the ETag really is the MD5 of the content. It isn't if the object was
	// uploaded in parts, or is encrypted with KMS or with a key of the client. A listing can't
	// tell.
	ETagIsMD5 bool
	// Metadata of the user, names in lower case without the service's prefix.
	Metadata map[string]string
	// CRC64 (ECMA) is the checksum that the service has of the content; 0 if it gave none. Only a
	// Sink gives it.
	CRC64 uint64
}

// Folder is the content of one level: what is directly below a prefix that is empty or ends with a
// slash.
type Folder struct {
	Objects []Object
	// Folders are the prefixes one level below, each with its slash at the end.
	Folders []string
}

// Reader is what both ports can do. No call has an effect, so each may be retried.
type Reader interface {
	// List yields each object whose key begins with the prefix, in the order of the keys' bytes. If
	// there is an error, it comes last. The prefix need not end at a slash. The listing is
	// consistent: it has everything that was written before the call. It omits keys that no port
	// takes, such as a console's folder markers.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// ListFolder lists one level: an absent folder is empty, not an error.
	ListFolder(ctx context.Context, prefix string) (Folder, error)
	// Head describes an object; NotFound if there is none.
	Head(ctx context.Context, key string) (Info, error)
	// Get reads a small object completely; one of more than limit bytes is Invalid. The bytes
	// belong to the ETag that is returned with them. A body that breaks off is Transient.
	Get(ctx context.Context, key string, limit int64) ([]byte, Info, error)
}

// Source is a bucket that is only read.
type Source interface {
	Reader
	// ReadRange opens length bytes from offset on, if the object still has the ETag: 0 and the
	// object's size for all of it. Changed if the object has another ETag, NotFound if it is gone.
	// An empty ETag accepts any; Body.ETag tells which it was. The body may break off or end early:
	// the caller counts the bytes, and opens the rest again. Close the body.
	ReadRange(ctx context.Context, key, etag string, offset, length int64) (Body, error)
	// Parts tells in how many parts an object with that ETag was uploaded, all of PartSize bytes
	// except the last. The zero value means that it was not uploaded in parts, or that the service
	// doesn't tell. Changed and NotFound as above.
	Parts(ctx context.Context, key, etag string) (Parts, error)
}

// Body is an open range of an object.
type Body struct {
	io.ReadCloser
	ETag      string
	ETagIsMD5 bool // as in Info
}

// Parts is the shape of an object that was uploaded in parts.
type Parts struct {
	Count    int
	PartSize int64
	// OfMD5s says that the object's ETag is made of its parts' MD5s: the MD5 of these, a dash, and
	// the number of parts. It isn't if the object is encrypted with KMS or with a key of the client
	// (S3: Checking object integrity).
	OfMD5s bool
}

// The limits of OSS for uploads in parts, which S3 shares or exceeds (OSS: Limits).
const (
	MaxParts    = 10_000
	MinPartSize = 100 << 10 // in bytes, of each part except the last
)

// Sink is a bucket that is written.
type Sink interface {
	Reader
	// Put writes an object of exactly size bytes and replaces an existing one. It is atomic:
	// readers see either the old object or the complete new one. After any error except Invalid,
	// Forbidden and BucketMissing it is unknown whether the object was written; to write the same
	// again is safe. The body is read once at most, and never after Put has returned. It may be a
	// [Lender]. The caller compares the result's checksums with its own; the port doesn't.
	Put(ctx context.Context, key string, body io.Reader, size int64, metadata map[string]string) (PutResult, error)
	// CreateUpload begins an object that is uploaded in parts. Nobody sees the object before
	// Complete. After an error an upload may exist that nobody knows of. It is harmless but costs
	// money, so a bucket needs a rule that aborts old ones.
	CreateUpload(ctx context.Context, key string, metadata map[string]string) (Upload, error)
	// UploadPart uploads a part and replaces an existing one of that number, from 1 to MaxParts.
	// Each part except the last has at least MinPartSize bytes. Retry as with Put. NotFound means
	// that the upload is gone.
	UploadPart(ctx context.Context, upload Upload, number int, body io.Reader, size int64) (Part, error)
	// ListUploads lists the uploads in progress of all keys that begin with the prefix, in the
	// order of the keys; the order of the uploads of one key means nothing. Somebody else may
	// complete or abort an upload at any time.
	ListUploads(ctx context.Context, prefix string) ([]Upload, error)
	// ListParts lists an upload's parts by number, without CRC64; NotFound if the upload is gone.
	ListParts(ctx context.Context, upload Upload) ([]Part, error)
	// Complete makes the object of these parts, atomically as Put does. After a Transient error the
	// outcome is unknown. On a second try NotFound may mean that the first one succeeded: Head
	// tells. Invalid if a part is unknown, has another ETag, or is too small.
	Complete(ctx context.Context, upload Upload, parts []Part) (PutResult, error)
	// Abort ends an upload and deletes its parts. It may be repeated: if the upload is gone, that
	// is success.
	Abort(ctx context.Context, upload Upload) error
	// Delete deletes an object. It may be repeated: if there is no such object, that is success.
	Delete(ctx context.Context, key string) error
}

// PutResult is what the service says it has stored.
type PutResult struct {
	ETag string
	// CRC64 (ECMA) of the complete object. If the service doesn't give it, the call fails: nothing
	// would be proven.
	CRC64 uint64
}

// Upload names an upload in parts.
type Upload struct {
	Key string
	ID  string
	// Initiated is when the upload began, if ListUploads gave it; zero if the service doesn't tell.
	Initiated time.Time
}

// Lender is a body that lends its own memory, so that its bytes are written without a copy.
type Lender interface {
	// Next gives at least one and at most most bytes, which stay unchanged until the next call.
	// After the last it gives io.EOF.
	Next(most int) ([]byte, error)
}

// Part is an uploaded part.
type Part struct {
	Number int
	Size   int64
	ETag   string // the MD5 of its content, in OSS's upper case
	CRC64  uint64
}
