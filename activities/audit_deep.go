package activities

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strconv"
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

// auditChunk is how much of a blob is in memory at once.
const auditChunk = 256 << 10

// judgeFile reads a file's blobs from OSS, if all are there, and compares every
// byte: each blob with S3's ETag or bytes, the whole with the checksum that
// Lucene recorded when the snapshot was taken.
func (j *auditJob) judgeFile(ctx context.Context, shard *auditShard, f repository.File) error {
	var needs []*auditNeed
	readable := true
	for _, part := range f.Blobs() {
		key, err := repository.DataBlobKey(shard.id, f.Name, part.Part)
		if err != nil {
			return err
		}
		n := shard.needs[key]
		needs = append(needs, n)
		j.count(n)
		if kind, reason := n.obvious(); reason != "" {
			j.bad(n, kind, reason)
			readable = false
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	j.check(func(ctx context.Context) error {
		sum := &luceneSum{length: f.Length}
		var reasons []string
		for _, n := range needs {
			if _, reason := n.obvious(); reason != "" {
				reasons = append(reasons, "") // reported
				continue
			}
			reason, err := j.read(ctx, n, sum)
			if err != nil {
				return err
			}
			reasons = append(reasons, reason)
		}
		whole := ""
		if readable {
			whole = sum.compare(f)
		}
		for i, n := range needs {
			if _, reported := n.obvious(); reported == "" {
				j.conclusion(n, reasons[i], whole, f)
			}
		}
		return nil
	})
	return nil
}

// conclusion joins what was found of a blob and of its file.
func (j *auditJob) conclusion(n *auditNeed, reason, whole string, f repository.File) {
	switch {
	case reason != "":
		j.bad(n, different, reason)
	case whole != "" && n.Source != nil:
		j.bad(n, different, whole+"; S3 has the same bytes: the snapshot was damaged before it was copied")
	case whole != "":
		j.bad(n, different, whole)
	case n.Source == nil && f.Checksum == "":
		j.bad(n, different, "S3 has lost it, and the snapshot records no checksum to compare it with")
	default:
		j.proven(n)
	}
}

// read reads a blob of OSS and compares it with S3's.
func (j *auditJob) read(ctx context.Context, n *auditNeed, sum *luceneSum) (reason string, err error) {
	store, ok := j.sink.(ranged)
	if !ok {
		return "", errors.New("the OSS client can't read parts of objects")
	}
	hashes, err := j.hashesFor(ctx, n)
	if err != nil {
		return "", err
	}
	if err := j.stream(ctx, store, n.Target, io.MultiWriter(hashes, sum)); err != nil {
		return "", movedIf(err)
	}
	j.mu.Lock()
	j.report.BytesRead += n.Target.Size
	j.mu.Unlock()
	if n.Source == nil || hashes.makes(n.Source.ETag) {
		return "", nil
	}
	// S3's ETag needn't be made of MD5s: then its bytes tell.
	source := newETagHashes(0)
	if err := j.stream(ctx, j.source, n.Source, source); err != nil {
		return "", movedIf(err)
	}
	if source.md5() != hashes.md5() {
		return "OSS has other bytes than S3, of the same length", nil
	}
	return "", nil
}

// movedIf takes an object that has changed or gone since it was listed for a
// repository that moves.
func movedIf(err error) error {
	if kind := objectstore.KindOf(err); kind == objectstore.NotFound || kind == objectstore.Changed {
		return sides.ErrMoved
	}
	return err
}

// stream reads an object and goes on where a body breaks off.
func (j *auditJob) stream(ctx context.Context, store ranged, o *objectstore.Object, into io.Writer) error {
	buffer := make([]byte, min(auditChunk, max(o.Size, 1)))
	for offset := int64(0); offset < o.Size; {
		before := offset
		_, err := transfer.Do(ctx, j.options.Retry, func() (struct{}, error) {
			body, err := store.ReadRange(ctx, o.Key, o.ETag, offset, o.Size-offset)
			if err != nil {
				return struct{}{}, err
			}
			defer body.Close()
			read, err := io.CopyBuffer(struct{ io.Writer }{into}, io.LimitReader(struct{ io.Reader }{body}, o.Size-offset), buffer)
			offset += read
			if err == nil && offset < o.Size {
				err = &objectstore.Error{Kind: objectstore.Transient, Op: "GetObject", Key: o.Key, Message: "the body ended early"}
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

// hashesFor prepares what S3's ETag is made of: the parts of an upload have MD5s of
// their own.
func (j *auditJob) hashesFor(ctx context.Context, n *auditNeed) (*etagHashes, error) {
	if n.Source == nil || !strings.Contains(n.Source.ETag, "-") {
		return newETagHashes(0), nil
	}
	parts, err := transfer.Do(ctx, j.options.Retry, func() (objectstore.Parts, error) { return j.source.Parts(ctx, n.Key, n.Source.ETag) })
	return newETagHashes(parts.PartSize), movedIf(err)
}

// etagHashes make the ETag that S3 would give to what is written.
type etagHashes struct {
	whole    hash.Hash
	partSize int64
	part     hash.Hash
	inPart   int64
	sums     []byte
}

func newETagHashes(partSize int64) *etagHashes {
	return &etagHashes{whole: md5.New(), partSize: partSize, part: md5.New()}
}

func (h *etagHashes) Write(p []byte) (int, error) {
	_, _ = h.whole.Write(p)
	for rest := p; h.partSize > 0 && len(rest) > 0; {
		n := min(int64(len(rest)), h.partSize-h.inPart)
		_, _ = h.part.Write(rest[:n])
		rest = rest[n:]
		if h.inPart += n; h.inPart == h.partSize {
			h.endPart()
		}
	}
	return len(p), nil
}

func (h *etagHashes) endPart() {
	h.sums = h.part.Sum(h.sums)
	h.part.Reset()
	h.inPart = 0
}

func (h *etagHashes) md5() string { return fmt.Sprintf("%x", h.whole.Sum(nil)) }

// makes tells whether all that was written has this ETag.
func (h *etagHashes) makes(etag string) bool {
	if h.partSize == 0 {
		return objectstore.SameMD5(h.md5(), etag)
	}
	if h.inPart > 0 {
		h.endPart()
	}
	return strings.EqualFold(etag, fmt.Sprintf("%x-%d", md5.Sum(h.sums), len(h.sums)/md5.Size))
}

// luceneSum computes the checksum of a Lucene file of known length. The one that
// a snapshot records is that of the file's footer: the CRC32 of all bytes before
// it. Lucene: CodecUtil.writeFooter. Elasticsearch: Store.MetadataSnapshot.
type luceneSum struct {
	length, at int64
	body       uint32 // CRC32 of all but the last 8 bytes
	tail       []byte // the last 16 bytes
}

const (
	luceneFooter = 16
	luceneCRC    = 8
	luceneMagic  = 0xc02893e8
)

func (s *luceneSum) Write(p []byte) (int, error) {
	if n := min(int64(len(p)), max(s.length-luceneCRC-s.at, 0)); n > 0 {
		s.body = crc32.Update(s.body, crc32.IEEETable, p[:n])
	}
	if from := max(s.length-luceneFooter-s.at, 0); from < int64(len(p)) {
		s.tail = append(s.tail, p[from:]...)
	}
	s.at += int64(len(p))
	return len(p), nil
}

// compare compares with what the snapshot records; the reason is empty if it
// fits, or if the snapshot records nothing.
func (s *luceneSum) compare(f repository.File) string {
	if f.Checksum == "" {
		return ""
	}
	if s.at != s.length {
		return fmt.Sprintf("the file %s has %d bytes in OSS, the snapshot says %d", f.PhysicalName, s.at, s.length)
	}
	got, n := s.body, len(s.tail)
	if n == luceneFooter && binary.BigEndian.Uint32(s.tail) == luceneMagic {
		if binary.BigEndian.Uint64(s.tail[n-luceneCRC:]) != uint64(got) {
			return fmt.Sprintf("the file %s doesn't have the checksum that its own footer gives", f.PhysicalName)
		}
	} else { // without a footer the checksum is of the whole
		got = crc32.Update(got, crc32.IEEETable, s.tail[max(0, n-luceneCRC):])
	}
	if strconv.FormatUint(uint64(got), 36) != f.Checksum {
		return fmt.Sprintf("the file %s has the checksum %s, the snapshot says %s", f.PhysicalName, strconv.FormatUint(uint64(got), 36), f.Checksum)
	}
	return ""
}
