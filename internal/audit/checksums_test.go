package audit

import (
	"bytes"
	"hash/crc32"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
)

func TestLuceneSum(t *testing.T) {
	body := bytes.Repeat([]byte("lucene"), 100)
	real := append(bytes.Clone(body), 0xc0, 0x28, 0x93, 0xe8, 0, 0, 0, 0)
	crc := crc32.ChecksumIEEE(real)
	real = append(real, 0, 0, 0, 0, byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
	recorded := strconv.FormatUint(uint64(crc), 36)
	sum := func(data []byte, length int, step int) string {
		s := &luceneSum{length: int64(length)}
		for chunk := range slices.Chunk(data, step) {
			_, err := s.Write(chunk)
			require.NoError(t, err)
		}
		return s.compare(repository.File{PhysicalName: "_0.cfs", Checksum: recorded})
	}
	for _, step := range []int{1, 3, 7, 16, 1000} {
		require.Empty(t, sum(real, len(real), step), step)
		for at := range real {
			damaged := bytes.Clone(real)
			damaged[at] ^= 0x10
			require.NotEmpty(t, sum(damaged, len(real), step), "byte %d", at)
		}
	}
	require.NotEmpty(t, sum(real[:len(real)-1], len(real), 5))
	require.NotEmpty(t, sum(nil, 0, 5))
	whole := body[:5]
	recorded = strconv.FormatUint(uint64(crc32.ChecksumIEEE(whole)), 36)
	require.Empty(t, sum(whole, 5, 2))
}
