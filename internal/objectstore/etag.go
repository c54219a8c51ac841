package objectstore

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// LooksLikeMD5 reports whether an ETag has the form of an MD5. The ETag of an object that is
// encrypted with KMS has this form but is no MD5: see Info.ETagIsMD5.
func LooksLikeMD5(etag string) bool {
	if len(etag) != 32 {
		return false
	}
	_, err := hex.DecodeString(etag)
	return err == nil
}

// SameMD5 reports whether two ETags are the same MD5; upper and lower case are equal.
func SameMD5(a, b string) bool { return LooksLikeMD5(a) && strings.EqualFold(a, b) }

// Unquote removes the quotes that an ETag has in HTTP.
func Unquote(etag string) string { return strings.Trim(etag, `"`) }

// BeginsAt reports whether the answer to a ranged GET begins at offset, by its Content-Range (RFC
// 9110, 14.4). An answer without that header is the complete object: a server that ignores ranges
// would give the start of the object for each part.
func BeginsAt(contentRange string, offset int64) bool {
	if contentRange == "" {
		return offset == 0
	}
	first, _, ok := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "-")
	begins, err := strconv.ParseInt(first, 10, 64)
	return ok && err == nil && begins == offset
}
