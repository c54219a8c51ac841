package osstest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// S3Options say how the S3-compatible face is served.
type S3Options struct {
	// Addr is the address to listen on; "" means 127.0.0.1 and a free port.
	Addr string
	// Region that signatures must name. "" accepts any, and HeadBucket then tells Options.Region or
	// us-east-1.
	Region string
	// TLS serves https with a certificate from an authority of the server's own, see [Server.CA].
	TLS bool
}

// s3Face is what the S3-compatible face has for itself: the store, the keys and the faults are
// shared.
type s3Face struct {
	listener *listener // nil if there's none
	region   string    // that signatures must name
	says     string    // the region that it tells
	ca       []byte    // PEM
}

// minPartSizeS3 is for every part but the last (S3: Amazon S3 multipart upload limits).
const minPartSizeS3 = 5 << 20

func newS3Face(o Options) s3Face {
	f := s3Face{}
	if o.S3 != nil {
		f.region = o.S3.Region
	}
	f.says = cmp.Or(f.region, o.Region, "us-east-1")
	return f
}

func (s *Server) startS3(o S3Options) error {
	l, err := net.Listen("tcp", cmp.Or(o.Addr, "127.0.0.1:0"))
	if err != nil {
		return fmt.Errorf("osstest: the S3 face: %w", err)
	}
	if o.TLS {
		certificate, ca, err := selfSigned(l.Addr(), s.now())
		if err != nil {
			_ = l.Close()
			return fmt.Errorf("osstest: the S3 face's certificate: %w", err)
		}
		s.s3.ca = ca
		// HTTP/1.1 only, as S3 itself.
		l = tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{certificate},
			NextProtos:   []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
		})
	}
	s.s3.listener = serveOn(l, s.S3Handler())
	return nil
}

// S3Handler serves S3's protocol on the same store, for use with a listener of the caller's.
func (s *Server) S3Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.handle(FaceS3, w, r) })
}

// S3URL is the endpoint of the S3-compatible face, "http://127.0.0.1:port" (https with TLS); "" if
// there's none. Clients must use path style.
func (s *Server) S3URL() string {
	switch {
	case s.s3.listener == nil:
		return ""
	case s.s3.ca != nil:
		return "https://" + s.s3.listener.Addr().String()
	}
	return "http://" + s.s3.listener.Addr().String()
}

// CA is the certificate (PEM) to trust for S3URL with TLS: what AWS_CA_BUNDLE and rclone's
// --ca-cert read from a file. Nil without TLS.
func (s *Server) CA() []byte { return slices.Clone(s.s3.ca) }

// selfSigned makes an authority and, from it, a certificate for the address and this computer's own
// names.
func selfSigned(addr net.Addr, now time.Time) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	parent := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "osstest"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.AddDate(1, 0, 0),
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca, err := x509.CreateCertificate(rand.Reader, parent, parent, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: parent.NotBefore,
		NotAfter: parent.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		leaf.IPAddresses = append(leaf.IPAddresses, tcp.IP)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, &leafKey.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}, bundle, nil
}

// classesS3 are OSS's storage classes by the nearest names of S3.
var classesS3 = map[string]string{
	"Standard": "STANDARD", "IA": "STANDARD_IA", "Archive": "GLACIER", "ColdArchive": "GLACIER",
	"DeepColdArchive": "DEEP_ARCHIVE",
}

func storageClassS3(class string) (string, error) {
	switch class {
	case "":
		return "", nil
	case "STANDARD":
		return "Standard", nil
	case "STANDARD_IA":
		return "IA", nil
	case "GLACIER":
		return "Archive", nil
	}
	return "", errNotImplemented.because("osstest knows the storage classes STANDARD, STANDARD_IA and GLACIER, not %s.",
		class)
}

// validKeyS3: 1 to 1,024 bytes of UTF-8 (S3: Naming Amazon S3 objects). A key that OSS refuses
// can't be read through OSS's face.
func validKeyS3(key string) bool { return len(key) >= 1 && len(key) <= 1024 && utf8.ValidString(key) }

// unknownS3 are the sub-resources that this face doesn't serve, and what asks for other ways to
// sign.
var unknownS3 = strings.Fields(`accelerate acl analytics attributes cors encryption intelligent-tiering
	inventory legal-hold lifecycle logging metadataConfiguration metadataTable metrics notification
	object-lock ownershipControls policy policyStatus publicAccessBlock renameObject replication
	requestPayment restore retention select select-type session tagging torrent versionId versioning versions
	website X-Amz-Signature X-Amz-Algorithm Signature AWSAccessKeyId`)

// unknownHeadersS3 are those that change what a request means.
var unknownHeadersS3 = []string{
	"X-Amz-Server-Side-Encryption-Customer-Algorithm", "X-Amz-Copy-Source-Server-Side-Encryption-Customer-Algorithm",
	"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "X-Amz-Tagging", "X-Amz-Object-Lock-Mode",
	"X-Amz-Object-Lock-Legal-Hold",
	"X-Amz-Website-Redirect-Location", "X-Amz-Write-Offset-Bytes", "X-Amz-Rename-Source", "X-Amz-Grant-Full-Control",
	"X-Amz-Grant-Read",
}

func (c *call) unknownRequestS3() (operation, bool) {
	if op, ok := c.refuses(unknownS3); ok {
		return op, true
	}
	for _, name := range unknownHeadersS3 {
		if _, ok := c.r.Header[name]; ok {
			return operation{name: "Unknown", refusal: errNotImplemented.with("Header", strings.ToLower(name))}, true
		}
	}
	switch acl := c.own("Acl"); acl {
	case "", "private", "bucket-owner-full-control":
		return operation{}, false
	}
	return operation{name: "Unknown", refusal: errNotImplemented.with("Header", "x-amz-acl")}, true
}
