package audit

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/internal/transfer"
)

// ranged reads a part of an object; S3 and OSS both can.
type ranged interface {
	ReadRange(ctx context.Context, key, etag string, offset, length int64) (objectstore.Body, error)
}

// chunk is how many bytes of a blob are in memory at once.
const chunk = 256 << 10

// checkFile reads a file's blobs from OSS, if all are there, and compares every byte: each blob
// with S3's ETag or bytes, the complete file with the checksum that Lucene recorded when the
// snapshot was taken.
func (j *job) checkFile(ctx context.Context, s *shard, f repository.File) error {
	var needs, readable []*need
	for _, part := range f.Blobs() {
		key, err := repository.DataBlobKey(s.id, f.Name, part.Part)
		if err != nil {
			return err
		}
		n := s.needs[key]
		needs = append(needs, n)
		j.count(n)
		if kind, reason := n.byListing(); reason != "" {
			j.bad(n, kind, reason)
		} else {
			readable = append(readable, n)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	j.submit(func(ctx context.Context) error {
		sum := &luceneSum{length: f.Length}
		reasons := make([]string, len(readable))
		for i, n := range readable {
			var err error
			if reasons[i], err = j.readBlob(ctx, n, sum); err != nil {
				return err
			}
		}
		ofFile := ""
		if len(readable) == len(needs) {
			ofFile = sum.compare(f)
		}
		for i, n := range readable {
			j.reportBlob(n, reasons[i], ofFile, f)
		}
		return nil
	})
	return nil
}

// reportBlob joins what was found of a blob and of its file.
func (j *job) reportBlob(n *need, reason, ofFile string, f repository.File) {
	switch {
	case reason != "":
		j.bad(n, different, reason)
	case ofFile != "" && n.Source != nil:
		j.bad(n, different, ofFile+"; S3 has the same bytes: the snapshot was damaged before it was copied")
	case ofFile != "":
		j.bad(n, different, ofFile)
	case n.Source == nil && f.Checksum == "":
		j.bad(n, different, "S3 no longer has it, and the snapshot records no checksum to compare it with")
	default:
		j.proven(n)
	}
}

// readBlob reads a blob of OSS and compares it with S3's. The reason is empty if they are the same.
func (j *job) readBlob(ctx context.Context, n *need, sum *luceneSum) (reason string, err error) {
	oss, ok := j.Sink.(ranged)
	if !ok {
		return "", errors.New("the OSS client can't read parts of objects")
	}
	hashes, err := j.hashesFor(ctx, n)
	if err != nil {
		return "", err
	}
	if err := j.stream(ctx, oss, n.Target, io.MultiWriter(hashes, sum)); err != nil {
		return "", movedIf(err)
	}
	j.read(n.Target.Size)
	if n.Source == nil || hashes.makes(n.Source.ETag) {
		return "", nil
	}
	// S3's ETag needn't be made of MD5s: then its bytes tell.
	source := newETagHashes(0)
	if err := j.stream(ctx, j.Source, n.Source, source); err != nil {
		return "", movedIf(err)
	}
	if source.md5() != hashes.md5() {
		return otherBytes, nil
	}
	return "", nil
}

// movedIf takes an object that has changed or gone since it was listed for a repository that
// changes.
func movedIf(err error) error {
	if kind := objectstore.KindOf(err); kind == objectstore.NotFound || kind == objectstore.Changed {
		return sides.ErrMoved
	}
	return err
}

// stream reads an object and goes on where a body breaks off.
func (j *job) stream(ctx context.Context, store ranged, o *objectstore.Object, into io.Writer) error {
	buffer := make([]byte, min(chunk, max(o.Size, 1)))
	for offset := int64(0); offset < o.Size; {
		before := offset
		_, err := transfer.Do(ctx, j.Transfer.Retry, func() (struct{}, error) {
			body, err := store.ReadRange(ctx, o.Key, o.ETag, offset, o.Size-offset)
			if err != nil {
				return struct{}{}, err
			}
			defer body.Close()
			read, err := copyBuffer(into, io.LimitReader(body, o.Size-offset), buffer)
			offset += read
			if err == nil && offset < o.Size {
				err = &objectstore.Error{
					Kind: objectstore.Transient, Op: "GetObject", Key: o.Key,
					Message: "the body ended early",
				}
			}
			return struct{}{}, err
		})
		if err != nil && offset == before {
			return err
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// copyBuffer is io.CopyBuffer that always uses the buffer: it hides the methods for which that
// would not.
func copyBuffer(into io.Writer, from io.Reader, buffer []byte) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{into}, struct{ io.Reader }{from}, buffer)
}

// hashesFor prepares what S3's ETag is made of: the parts of an upload have MD5s of their own.
func (j *job) hashesFor(ctx context.Context, n *need) (*etagHashes, error) {
	if n.Source == nil || !strings.Contains(n.Source.ETag, "-") {
		return newETagHashes(0), nil
	}
	parts, err := transfer.Do(ctx, j.Transfer.Retry, func() (objectstore.Parts, error) {
		return j.Source.Parts(ctx, n.Key, n.Source.ETag)
	})
	return newETagHashes(parts.PartSize), movedIf(err)
}
