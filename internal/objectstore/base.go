package objectstore

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxKey is the longest key, in bytes, that both S3 (1,024) and OSS (1,023) take, base path
// included.
const maxKey = 1023

// Base is the folder of a bucket that an implementation never leaves.
type Base struct{ bucket, prefix string }

// NewBase checks a base path: segments between slashes, as in a key. Empty means the complete
// bucket.
func NewBase(bucket, path string) (Base, error) {
	b := Base{bucket: bucket}
	if bucket == "" {
		return b, b.invalid("", "no bucket is named")
	}
	if path == "" {
		return b, nil
	}
	if problem := keyProblem(path); problem != "" {
		return b, b.invalid(path, "the base path "+problem)
	}
	b.prefix = path + "/"
	return b, nil
}

// Bucket is the bucket's name.
func (b Base) Bucket() string { return b.bucket }

// Key is the full key of a relative one. It refuses a key that could leave the base path, or reach
// another object than it seems to: one with empty segments, with "." or "..", which clients and
// proxies resolve, or with control characters.
func (b Base) Key(key string) (string, error) {
	if problem := keyProblem(key); problem != "" {
		return "", b.invalid(b.prefix+key, "the key "+problem)
	}
	if len(b.prefix)+len(key) > maxKey {
		return "", b.invalid(b.prefix+key, fmt.Sprintf("the key is longer than %d bytes", maxKey))
	}
	return b.prefix + key, nil
}

// Prefix is the full prefix of a relative one, for a listing. A prefix may be empty, and may end
// with a slash or within a name.
func (b Base) Prefix(prefix string) (string, error) {
	folder := strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		return b.prefix, nil
	}
	if problem := keyProblem(folder); problem != "" {
		return "", b.invalid(b.prefix+prefix, "the prefix "+problem)
	}
	return b.prefix + prefix, nil
}

// Relative is the relative key of a full one that a listing gave. ok is false for keys that the
// ports don't show: the folder markers that consoles create, and keys that Key refuses.
func (b Base) Relative(full string) (key string, ok bool) {
	key, ok = strings.CutPrefix(full, b.prefix)
	return key, ok && keyProblem(key) == ""
}

func (b Base) invalid(key, message string) error {
	return &Error{Kind: Invalid, Op: "check key", Bucket: b.bucket, Key: fmt.Sprintf("%.200q", key), Message: message}
}

func keyProblem(key string) string {
	if !utf8.ValidString(key) {
		return "is not valid UTF-8"
	}
	if strings.ContainsFunc(key, func(r rune) bool { return unicode.IsControl(r) || r == '\\' }) {
		return "has a control character or a backslash"
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "has an empty, \".\" or \"..\" segment"
		}
	}
	return ""
}
