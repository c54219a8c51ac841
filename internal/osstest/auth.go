package osstest

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/snapferry/snapferry/internal/sigv4"
)

// maxSkew is how far a request's clock may be off (OSS: RequestTimeTooSkewed).
const maxSkew = 15 * time.Minute

// signedV1 are the parameters that belong to the resource in a V1 signature: the union of the Go
// SDK's signKeyList and the Java SDK's SIGNED_PARAMTERS. prefix, max-keys, list-type, start-after,
// marker and encoding-type aren't among them.
var signedV1 = func() map[string]bool {
	m := map[string]bool{}
	for _, k := range append(strings.Fields(`acl worm uploads location delete objectMeta uploadId partNumber
		security-token bucketInfo startTime endTime callback-var continuation-token sequential withHashContext
		udfName udfImage udfId udfImageDesc udfApplication udfApplicationLog response-content-type
		response-content-language response-expires response-cache-control response-content-disposition
		response-content-encoding x-oss-traffic-limit x-oss-request-payer x-oss-enable-md5 x-oss-enable-sha1
		x-oss-enable-sha256 x-oss-hash-ctx x-oss-md5-ctx x-oss-ac-source-ip x-oss-ac-subnet-mask
		x-oss-ac-vpc-id x-oss-ac-forward-allow vpcip vip`), unknown...) {
		m[k] = true
	}
	return m
}()

// authenticate verifies the signature and returns the key that made it.
func (c *call) authenticate() (Key, error) {
	return c.d.authenticate(c, c.r.Header.Get("Authorization"))
}

func (c *call) authenticateOSS(auth string) (Key, error) {
	switch {
	case auth == "":
		return Key{}, errAccessDenied.because("Anonymous access is forbidden for this operation.")
	case strings.HasPrefix(auth, "OSS4-HMAC-SHA256 "):
		return c.authenticateV4(strings.TrimPrefix(auth, "OSS4-HMAC-SHA256 "))
	case strings.HasPrefix(auth, "OSS "):
		return c.authenticateV1(strings.TrimPrefix(auth, "OSS "))
	}
	return Key{}, errInvalidArgument.because("Authorization header is invalid.").with("ArgumentName", "Authorization")
}

// lookUp finds the key and checks its token, which the signature covers as any other header of the
// face.
func (c *call) lookUp(id string) (Key, error) {
	c.mu.RLock()
	key, ok := c.keys[id]
	c.mu.RUnlock()
	token := c.own("Security-Token")
	switch {
	case !ok, key.Token != "" && token == "":
		return Key{}, errInvalidAccessKey.with("OSSAccessKeyId", id)
	case token != key.Token:
		return Key{}, errInvalidToken.with("OSSAccessKeyId", id)
	case !key.Expires.IsZero() && c.now().After(key.Expires):
		return Key{}, errExpiredToken.with("OSSAccessKeyId", id)
	}
	return key, nil
}

func (c *call) checkClock(sent time.Time) error {
	now := c.now()
	if d := now.Sub(sent); d > maxSkew || d < -maxSkew {
		return errSkewed.with("RequestTime", stamp(sent)).with("ServerTime", stamp(now)).
			with("MaxAllowedSkewMilliseconds", strconv.FormatInt(maxSkew.Milliseconds(), 10))
	}
	return nil
}

// requestTime reads x-oss-date or Date, and returns the text that a V4 signature covers.
func (c *call) requestTime() (time.Time, string, error) {
	if v := c.r.Header.Get("X-Oss-Date"); v != "" {
		if t, err := time.Parse(timeV4, v); err == nil {
			return t, v, nil
		}
		if t, err := http.ParseTime(v); err == nil { // V1 clients may send the RFC 1123 form
			return t, v, nil
		}
	} else if v := c.r.Header.Get("Date"); v != "" {
		if t, err := http.ParseTime(v); err == nil {
			return t, v, nil
		}
	}
	return time.Time{}, "", errAccessDenied.because("OSS authentication requires a valid Date.")
}

const timeV4 = sigv4.TimeFormat

func (c *call) authenticateV1(auth string) (Key, error) {
	id, signature, ok := strings.Cut(auth, ":")
	if !ok {
		return Key{}, errInvalidArgument.because("Authorization header is invalid.").with("ArgumentName",
			"Authorization")
	}
	key, err := c.lookUp(id)
	if err != nil {
		return Key{}, err
	}
	sent, _, err := c.requestTime()
	if err != nil {
		return Key{}, err
	}
	given, _ := base64.StdEncoding.DecodeString(signature)
	var text string
	// For a parameter with an empty value the SDKs differ: Go signs "key", Java "key=".
	for _, equals := range []bool{false, true} {
		text = c.stringToSignV1(equals)
		mac := hmac.New(sha1.New, []byte(key.Secret))
		mac.Write([]byte(text))
		if hmac.Equal(mac.Sum(nil), given) {
			return key, c.checkClock(sent)
		}
	}
	return Key{}, mismatch(id, signature, text)
}

func mismatch(id, signature, text string) *apiError {
	return errSignature.with("OSSAccessKeyId", id).with("SignatureProvided", signature).with("StringToSign", text).
		with("StringToSignBytes", strings.TrimSpace(spaced(text)))
}

func spaced(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})) + " ")
	}
	return b.String()
}

func (c *call) stringToSignV1(equals bool) string {
	h := c.r.Header
	var b strings.Builder
	for _, line := range []string{c.r.Method, h.Get("Content-Md5"), h.Get("Content-Type"), h.Get("Date")} {
		b.WriteString(line + "\n")
	}
	c.writeHeaders(&b, nil)
	b.WriteString("/")
	if c.bucket != "" {
		b.WriteString(c.bucket + "/" + c.key)
	}
	separator := "?"
	for _, name := range sortedKeys(c.query) {
		if !signedV1[name] {
			continue
		}
		b.WriteString(separator + name)
		value := c.query.Get(name)
		if value != "" || equals && strings.Contains("&"+c.r.URL.RawQuery, "&"+name+"=") {
			b.WriteString("=" + value)
		}
		separator = "&"
	}
	return b.String()
}

// writeHeaders writes the canonical headers: all x-oss-*, and those named.
func (c *call) writeHeaders(b *strings.Builder, named []string) {
	var names []string
	for name := range c.r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-oss-") {
			names = append(names, lower)
		}
	}
	for _, name := range named {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString(name + ":" + c.headerValue(name) + "\n")
	}
}

func (c *call) headerValue(name string) string {
	switch name {
	case "host": // net/http takes these two out of the header
		return c.r.Host
	case "content-length":
		return strconv.FormatInt(c.r.ContentLength, 10)
	}
	return strings.TrimSpace(strings.Join(c.r.Header.Values(name), ","))
}

// authenticateV4 reads
// "Credential=ID/DAY/REGION/oss/aliyun_v4_request[,AdditionalHeaders=a;b],Signature=HEX".
func (c *call) authenticateV4(auth string) (Key, error) {
	fields := map[string]string{}
	for f := range strings.SplitSeq(auth, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(f), "=")
		fields[name] = value
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[3] != "oss" || scope[4] != "aliyun_v4_request" || fields["Signature"] == "" {
		return Key{}, errInvalidArgument.because("Authorization header is invalid.").with("ArgumentName",
			"Authorization")
	}
	id, day, region := scope[0], scope[1], scope[2]
	key, err := c.lookUp(id)
	if err != nil {
		return Key{}, err
	}
	sent, sentText, err := c.requestTime()
	if err != nil {
		return Key{}, err
	}
	if day != sent.UTC().Format("20060102") {
		return Key{}, errInvalidArgument.because("The credential's date %s isn't the request's, %s.", day,
			sentText).with("ArgumentName", "Authorization")
	}
	if c.region != "" && region != c.region {
		return Key{}, errInvalidArgument.because("Invalid signing region in Authorization header: %s, expected %s.",
			region, c.region).
			with("ArgumentName", "Authorization").with("Region", c.region)
	}
	canonical := c.canonicalRequestV4(fields["AdditionalHeaders"])
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{
		"OSS4-HMAC-SHA256", sentText, strings.Join(scope[1:], "/"),
		hex.EncodeToString(sum[:]),
	}, "\n")
	given, _ := hex.DecodeString(fields["Signature"])
	if !hmac.Equal(c.signing.Sign("aliyun_v4"+key.Secret, scope[1:], text), given) {
		return Key{}, mismatch(id, fields["Signature"], text).with("CanonicalRequest", canonical)
	}
	return key, c.checkClock(sent)
}

func (c *call) canonicalRequestV4(additional string) string {
	extra := []string{}
	for name := range strings.SplitSeq(strings.ToLower(additional), ";") {
		if name = strings.TrimSpace(name); name != "" {
			extra = append(extra, name)
		}
	}
	slices.Sort(extra)
	named := slices.Clone(extra)
	for _, name := range []string{"content-type", "content-md5"} {
		if _, ok := c.r.Header[http.CanonicalHeaderKey(name)]; ok {
			named = append(named, name)
		}
	}
	var b strings.Builder
	path := "/"
	if c.bucket != "" {
		path += c.bucket + "/" + c.key
	}
	b.WriteString(c.r.Method + "\n" + sigv4.Escape(path, "/") + "\n" + canonicalQuery(c.query) + "\n")
	c.writeHeaders(&b, named)
	payload := c.r.Header.Get("X-Oss-Content-Sha256")
	if payload == "" {
		payload = sigv4.Unsigned
	}
	b.WriteString("\n" + strings.Join(extra, ";") + "\n" + payload)
	return b.String()
}

func canonicalQuery(query url.Values) string {
	pairs := make([]string, 0, len(query))
	for name, values := range query {
		pair := escape(name)
		if values[0] != "" {
			pair += "=" + escape(values[0])
		}
		pairs = append(pairs, pair)
	}
	// Sorted by the name, not the pair: "a=1" stands before "a-b=1" although "-" is smaller than
	// "=".
	slices.SortFunc(pairs, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return strings.Compare(a, b)
	})
	return strings.Join(pairs, "&")
}

// escape is RFC 3986: everything but letters, digits and -_.~
func escape(s string) string { return sigv4.Escape(s, "") }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
