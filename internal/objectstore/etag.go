package objectstore

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// LooksLikeMD5 tells whether an ETag has the form of an MD5. An object that is encrypted with KMS has it as well, without
// being one: see Info.ETagIsMD5.
func LooksLikeMD5(etag string) bool {
	if len(etag) != 32 {
		return false
	}
	_, err := hex.DecodeString(etag)
	return err == nil
}

// SameMD5 compares two ETags that are MD5s, whatever their case.
func SameMD5(a, b string) bool { return LooksLikeMD5(a) && strings.EqualFold(a, b) }

// Unquote takes the quotes off an ETag as HTTP carries it.
func Unquote(etag string) string { return strings.Trim(etag, `"`) }

// BeginsAt tells whether the answer to a ranged GET begins at offset, by its Content-Range (RFC 9110, 14.4). An answer without one is
// of the whole object: what ignores ranges would give the object's beginning for each of its parts.
func BeginsAt(contentRange string, offset int64) bool {
	if contentRange == "" {
		return offset == 0
	}
	first, _, ok := strings.Cut(strings.TrimPrefix(contentRange, "bytes "), "-")
	begins, err := strconv.ParseInt(first, 10, 64)
	return ok && err == nil && begins == offset
}
