package sidestest

import "bytes"

// Flip gives other bytes of the same length.
func Flip(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	return data
}
