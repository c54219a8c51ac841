package osstest

import (
	"net/http"
	"strconv"
	"strings"
)

func contentRange(start, length, size int64) string {
	return "bytes " + strconv.FormatInt(start, 10) + "-" + strconv.FormatInt(start+length-1, 10) + "/" +
		strconv.FormatInt(size, 10)
}

// rangeOf reads the Range header. Unlike S3 (standard), OSS ignores a range that isn't wholly
// inside the object and sends everything with 200, unless x-oss-range-behavior is "standard" (OSS:
// GetObject).
func (c *call) rangeOf(size int64) (start, length int64, partial bool, err error) {
	text, ok := strings.CutPrefix(c.r.Header.Get("Range"), "bytes=")
	if !ok {
		return 0, size, false, nil
	}
	standard := c.d.face == FaceS3 || c.own("Range-Behavior") == "standard"
	first, last, ok := parseRange(text)
	if !ok {
		return 0, size, false, nil
	}
	switch {
	case first < 0 && last <= size: // the last bytes
		first, last = size-last, size-1
	case first < 0 && standard:
		first, last = 0, size-1
	case last < 0: // from first to the end
		last = size - 1
	}
	switch {
	case first >= 0 && first <= last && last < size:
		return first, last - first + 1, true, nil
	case !standard || first < 0 || last < first && first < size:
		return 0, size, false, nil
	case first >= size:
		return 0, 0, false, errInvalidRange.with("RangeRequested", text).with("ActualObjectSize",
			strconv.FormatInt(size, 10))
	}
	return first, size - first, true, nil
}

// parseRange reads "first-last", "first-" (last is -1) and "-n" (first is -1, last is n).
func parseRange(text string) (first, last int64, ok bool) {
	a, b, ok := strings.Cut(text, "-")
	if !ok || a == "" && b == "" {
		return 0, 0, false
	}
	read := func(s string) int64 {
		if s == "" {
			return -1
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			ok = false
		}
		return n
	}
	first, last = read(a), read(b)
	return first, last, ok
}

// conditions checks If-Match and its kin; prefix is "X-Oss-Copy-Source-" for the source of a copy.
// In S3 a condition on the ETag outweighs its kin on the time (S3: GetObject).
func (o *object) conditions(h http.Header, prefix string, etagFirst bool) error {
	is := func(list string) bool {
		for tag := range strings.SplitSeq(list, ",") {
			if tag = strings.TrimSpace(tag); tag == "*" || strings.EqualFold(strings.Trim(tag, `"`), o.ETag) {
				return true
			}
		}
		return false
	}
	if v := h.Get(prefix + "If-Match"); v != "" && !is(v) {
		return errPrecondition.with("Condition", "If-Match")
	}
	ifMatch, ifNoneMatch := h.Get(prefix+"If-Match") != "", h.Get(prefix+"If-None-Match") != ""
	if t, err := http.ParseTime(h.Get(prefix + "If-Unmodified-Since")); err == nil && !(etagFirst && ifMatch) &&
		o.Modified.After(t) {
		return errPrecondition.with("Condition", "If-Unmodified-Since")
	}
	if v := h.Get(prefix + "If-None-Match"); v != "" && is(v) {
		return errNotModified
	}
	if t, err := http.ParseTime(h.Get(prefix + "If-Modified-Since")); err == nil && !(etagFirst && ifNoneMatch) &&
		!o.Modified.After(t) {
		return errNotModified
	}
	return nil
}
