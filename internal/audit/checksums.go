package audit

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
)

// etagHashes make the ETag that S3 would give to what is written.
type etagHashes struct {
	all      hash.Hash
	partSize int64
	part     hash.Hash
	inPart   int64
	sums     []byte
}

func newETagHashes(partSize int64) *etagHashes {
	return &etagHashes{all: md5.New(), partSize: partSize, part: md5.New()}
}

func (h *etagHashes) Write(p []byte) (int, error) {
	_, _ = h.all.Write(p)
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

func (h *etagHashes) md5() string { return fmt.Sprintf("%x", h.all.Sum(nil)) }

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

// luceneSum computes the checksum of a Lucene file of known length. A snapshot records the checksum
// that the file's footer holds: the CRC32 of all bytes before it. Lucene: CodecUtil.writeFooter.
// Elasticsearch: Store.MetadataSnapshot.
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

// compare compares with what the snapshot records. The reason is empty if it fits, or if the
// snapshot records nothing.
func (s *luceneSum) compare(f repository.File) (reason string) {
	if f.Checksum == "" {
		return ""
	}
	if s.at != s.length {
		return fmt.Sprintf("the file %s has %d bytes in OSS, the snapshot says %d", f.PhysicalName, s.at, s.length)
	}
	got, n := s.body, len(s.tail)
	if n == luceneFooter && binary.BigEndian.Uint32(s.tail) == luceneMagic {
		if binary.BigEndian.Uint64(s.tail[n-luceneCRC:]) != uint64(got) {
			return fmt.Sprintf("the file %s doesn't have the checksum that its own footer holds", f.PhysicalName)
		}
	} else { // without a footer the checksum is that of all bytes
		got = crc32.Update(got, crc32.IEEETable, s.tail[max(0, n-luceneCRC):])
	}
	if sum := strconv.FormatUint(uint64(got), 36); sum != f.Checksum {
		return fmt.Sprintf("the file %s has the checksum %s, the snapshot says %s", f.PhysicalName, sum, f.Checksum)
	}
	return ""
}
