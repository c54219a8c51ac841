package osstest

import (
	"encoding/base64"
	"encoding/hex"
	"hash/crc64"
)

// combineCRC64 is the CRC64-ECMA of two byte sequences in a row, from the CRC of each and the
// length of the second. A CRC is a remainder of polynomials over GF(2), so appending n bytes
// multiplies the first one by x^8n (the method of zlib's crc32_combine).
func combineCRC64(first, second uint64, n int64) uint64 {
	power := uint64(1) << 63                        // x^0, bits reflected
	for square := uint64(1) << 55; n > 0; n >>= 1 { // x^8, x^16, x^32, ...
		if n&1 != 0 {
			power = multiply(power, square)
		}
		square = multiply(square, square)
	}
	return multiply(first, power) ^ second
}

// multiply is a*b modulo the ECMA polynomial.
func multiply(a, b uint64) (product uint64) {
	for bit := uint64(1) << 63; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		if carry != 0 {
			b ^= crc64.ECMA
		}
	}
	return product
}

// hexMD5 turns the ETag of a Normal object into the form of Content-MD5.
func hexMD5(etag string) (string, error) {
	sum, err := hex.DecodeString(etag)
	return base64.StdEncoding.EncodeToString(sum), err
}
