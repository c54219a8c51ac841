package transfer

import (
	"context"
	"strconv"

	"github.com/snapferry/snapferry/internal/objectstore"
)

// The metadata of a copy in the sink.
const (
	MetadataETag   = "snapferry-etag"   // of the source's object
	MetadataLength = "snapferry-length" // in bytes
	MetadataCRC64  = "snapferry-crc64"  // of the bytes that were read, if the ETags can't prove the copy
	MetadataParts  = "snapferry-parts"  // the number of parts, if it was uploaded in parts
)

func (b Blob) metadata(p proof) map[string]string {
	m := map[string]string{MetadataETag: b.ETag, MetadataLength: strconv.FormatInt(b.Size, 10)}
	if p.hash {
		m[MetadataCRC64] = strconv.FormatUint(p.crc, 10)
	}
	return m
}

// is reports whether an object in the sink is a proven copy of this blob. ETag and length in its
// metadata name the version. They were written before the proof, and the process may have ended
// between the two. An upload in parts is completed only after its proof. For an object that was put
// in one request, the checksums tell.
func (b Blob) is(info objectstore.Info) bool {
	m := info.Metadata
	if info.Size != b.Size || b.ETag == "" || m[MetadataETag] != b.ETag ||
		m[MetadataLength] != strconv.FormatInt(b.Size, 10) {
		return false
	}
	return m[MetadataParts] != "" || objectstore.SameMD5(info.ETag, b.ETag) ||
		m[MetadataCRC64] != "" && m[MetadataCRC64] == strconv.FormatUint(info.CRC64, 10)
}

// Present reports whether the sink has a proven copy of this version of the blob, by one HEAD.
func (m *Mover) Present(ctx context.Context, blob Blob) (Stored, bool, error) {
	release, err := m.slot(ctx)
	if err != nil {
		return Stored{}, false, err
	}
	defer release()
	info, err := ask(ctx, m, "HeadObject", blob.Key,
		func(ctx context.Context) (objectstore.Info, error) { return m.sink.Head(ctx, blob.Key) })
	if objectstore.KindOf(err) == objectstore.NotFound {
		return Stored{}, false, nil
	}
	return Stored{Blob: blob, SinkETag: info.ETag, Skipped: true}, err == nil && blob.is(info), err
}
