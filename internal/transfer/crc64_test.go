package transfer

import (
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/stretchr/testify/require"
)

// Alibaba's SDK has the same function, which this package doesn't want to depend on.
func TestCombine(t *testing.T) {
	data := make([]byte, 5000)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	for _, at := range []int{0, 1, 7, 64, 1000, 4999, 5000} {
		a, b := crc64Of(data[:at]), crc64Of(data[at:])
		require.Equal(t, crc64Of(data), combine(a, b, int64(len(data)-at)), "cut at %d", at)
		require.Equal(t, oss.CRC64Combine(a, b, uint64(len(data)-at)), combine(a, b, int64(len(data)-at)))
	}
}
