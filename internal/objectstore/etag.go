package objectstore

import (
	"encoding/hex"
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
