package transfer

import "hash/crc64"

var ecma = crc64.MakeTable(crc64.ECMA)

func crc64Of(data []byte) uint64 { return crc64.Checksum(data, ecma) }

// matrix is a linear map of CRC registers: column i is what it makes of bit i.
type matrix [64]uint64

func (m *matrix) times(vector uint64) (sum uint64) {
	for i := 0; vector != 0; i, vector = i+1, vector>>1 {
		if vector&1 != 0 {
			sum ^= m[i]
		}
	}
	return sum
}

func (m *matrix) square() (out matrix) {
	for i := range m {
		out[i] = m.times(m[i])
	}
	return out
}

// combine is the CRC64 of two byte sequences one after the other, from the CRC64 of each and the
// length of the second. It extends the first by as many zero bytes, in steps of powers of two
// (zlib: crc32_combine).
func combine(first, second uint64, length int64) uint64 {
	zeros := matrix{crc64.ECMA} // one zero bit
	for i := 1; i < 64; i++ {
		zeros[i] = 1 << (i - 1)
	}
	for range 3 { // one zero byte
		zeros = zeros.square()
	}
	for ; length > 0; length >>= 1 {
		if length&1 != 0 {
			first = zeros.times(first)
		}
		zeros = zeros.square()
	}
	return first ^ second
}
