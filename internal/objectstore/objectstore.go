// Package objectstore holds the two ports through which snapferry sees object storage: [Source], which is only read (S3),
// and [Sink], which is written (OSS). The comment on each method is its contract; package objectstoretest checks it on
// every implementation.
//
// An implementation stands on one bucket and one base path and sees nothing else: keys are relative to the base path,
// and a key that would leave it is refused (see [Base]). Calls may run at the same time.
//
// Every error is an *[Error], or wraps the context's own error if that ended the call. An implementation may retry what
// has no effect (List, Head, Get, Parts, the start of ReadRange); the caller retries the rest, as it holds the bytes.
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
	// ETag without quotes, in the service's own case: S3 writes hex in lower case, OSS in upper case.
	ETag         string
	LastModified time.Time
}

// Info is all that is known of an object without reading it.
type Info struct {
	Object
	// ETagIsMD5 says that the ETag is the MD5 of the content, beyond its looks: it isn't for an object that was uploaded in
	// parts or encrypted with KMS or a key of the client's. A listing can't tell.
	ETagIsMD5 bool
	// Metadata of the user, names in lower case without the service's prefix.
	Metadata map[string]string
	// CRC64 (ECMA) of the content as the service has it; 0 if it gave none. Only a Sink gives it.
	CRC64 uint64
}

// Folder is what stands directly below a prefix that ends with a slash, or is empty.
type Folder struct {
	Objects []Object
	// Folders are the prefixes one level below, each with its closing slash.
	Folders []string
}

// Reader is what both ports can do. None of it has an effect, so all of it may be retried.
type Reader interface {
	// List yields each object whose key begins with the prefix, in the order of the keys' bytes, and an error, if one comes,
	// as the last. The prefix need not end at a slash. It is consistent: what was written before the call is there. Keys
	// that no port would take, such as a console's folder markers, are left out.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// ListFolder lists one level: an absent folder is empty, not an error.
	ListFolder(ctx context.Context, prefix string) (Folder, error)
	// Head describes an object; NotFound if there is none.
	Head(ctx context.Context, key string) (Info, error)
	// Get reads an object whole, for those that are small: one of more than limit bytes is Invalid. The bytes are those of
	// the ETag that is returned with them. A body that breaks off is Transient.
	Get(ctx context.Context, key string, limit int64) ([]byte, Info, error)
}

// Source is a bucket that is only read.
type Source interface {
	Reader
	// ReadRange opens length bytes from offset on, 0 and the object's size for all of it, if the object still has the ETag:
	// Changed if it has another by now, NotFound if it is gone. An empty ETag accepts any; Body.ETag tells which it was. The
	// body may break off or end early: the caller counts, and opens the rest again. It must be closed.
	ReadRange(ctx context.Context, key, etag string, offset, length int64) (Body, error)
	// Parts tells how an object with that ETag was uploaded: in how many parts, all of PartSize bytes but the last. The
	// zero value means that it was not in parts or that the service doesn't tell. Changed and NotFound as above.
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
	// OfMD5s says that the object's ETag is made of its parts' MD5s: their MD5, a dash, their number. It isn't for an object that is
	// encrypted with KMS or a key of the client's (S3: Checking object integrity).
	OfMD5s bool
}

// The limits of OSS for uploads in parts, which S3 shares or exceeds (OSS: Limits).
const (
	MaxParts    = 10_000
	MinPartSize = 100 << 10 // of each part but the last
)

// Sink is a bucket that is written.
type Sink interface {
	Reader
	// Put writes an object of exactly size bytes and replaces one that is there. It is atomic: readers see the old object or
	// the whole new one. After any error but Invalid, Forbidden and BucketMissing it is unknown whether the object was
	// written; writing the same again is safe. The body is read at most once, and not after Put has returned; it may be a
	// [Lender]. The caller compares the result's checksums with its own: the port doesn't.
	Put(ctx context.Context, key string, body io.Reader, size int64, metadata map[string]string) (PutResult, error)
	// CreateUpload begins an object that is uploaded in parts; nothing is seen of it until Complete. After an error an
	// upload may exist that nobody knows of: harmless but paid for, so buckets want a rule that ends stale ones.
	CreateUpload(ctx context.Context, key string, metadata map[string]string) (Upload, error)
	// UploadPart uploads part number 1 to MaxParts, at least MinPartSize bytes unless it is the last, replacing a part of that
	// number. Retry as with Put. NotFound means that the upload is gone.
	UploadPart(ctx context.Context, upload Upload, number int, body io.Reader, size int64) (Part, error)
	// ListUploads lists the uploads in progress of all keys that begin with the prefix, in the order of the keys and, for one
	// key, of no meaning. An upload may be completed or ended by somebody else at any time.
	ListUploads(ctx context.Context, prefix string) ([]Upload, error)
	// ListParts lists an upload's parts by number, without CRC64; NotFound if the upload is gone.
	ListParts(ctx context.Context, upload Upload) ([]Part, error)
	// Complete makes the object of these parts, atomically as Put does. After a Transient error the outcome is unknown, and
	// on a second try NotFound may mean that the first one succeeded: Head tells. Invalid if a part is unknown, its ETag
	// another, or too small.
	Complete(ctx context.Context, upload Upload, parts []Part) (PutResult, error)
	// Abort ends an upload and frees its parts. It may be repeated: one that is gone is success.
	Abort(ctx context.Context, upload Upload) error
	// Delete removes an object. It may be repeated: that there is none is success.
	Delete(ctx context.Context, key string) error
}

// PutResult is what the service says it has stored.
type PutResult struct {
	ETag string
	// CRC64 (ECMA) of the whole object. A service that doesn't give it fails the call: without it nothing would be proven.
	CRC64 uint64
}

// Upload names an upload in parts.
type Upload struct {
	Key string
	ID  string
	// Initiated is when it was begun, if ListUploads gave it; zero where the service doesn't tell.
	Initiated time.Time
}

// Lender is a body that lends its own memory, so that it needn't be copied to be written.
type Lender interface {
	// Next gives between one and most bytes, which stay as they are until the next call; io.EOF after the last.
	Next(most int) ([]byte, error)
}

// Part is an uploaded part.
type Part struct {
	Number int
	Size   int64
	ETag   string // the MD5 of its content, in OSS's upper case
	CRC64  uint64
}
