package oss

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
	"github.com/snapferry/snapferry/internal/osstest"
)

// Over TLS a body is lent as well, each connection serves many requests, and a stranger's
// certificate is refused.
func TestTLS(t *testing.T) {
	store, err := osstest.New(osstest.Options{
		Dir: t.TempDir(), Region: "cn-hangzhou",
		Keys: []osstest.Key{{ID: "ak", Secret: "sk"}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.CreateBucket("shop-es", osstest.BucketOptions{}))
	connections := map[string]bool{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connections[r.RemoteAddr] = true // one request at a time
		require.Equal(t, "HTTP/1.1", r.Proto)
		store.ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true // it would be taken if it were asked for
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	o := Options{
		Endpoint: server.URL, Bucket: "shop-es", BasePath: "base", Region: "cn-hangzhou", AccessKeyID: "ak",
		AccessKeySecret: "sk",
	}
	sink, err := New(o)
	require.NoError(t, err)
	_, err = sink.Head(t.Context(), "k")
	require.Equal(t, objectstore.Transient, objectstore.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "certificate")

	o.CACert = []byte("no certificate")
	_, err = New(o)
	require.ErrorContains(t, err, "the CA certificate isn't in PEM form")
	o.CACert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	sink, err = New(o)
	require.NoError(t, err)
	data := objectstoretest.Random(1, 3<<20)
	for range 5 {
		body := &pieces{data: data}
		result, err := sink.Put(t.Context(), "k", body, int64(len(data)), nil)
		require.NoError(t, err)
		require.Equal(t, objectstoretest.CRC64(data), result.CRC64)
		require.Positive(t, body.lent)
		got, _, err := sink.Get(t.Context(), "k", int64(len(data)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got))
	}
	require.Len(t, connections, 1)
}

// pieces counts what it lends.
type pieces struct {
	data []byte
	lent int
}

func (p *pieces) Next(most int) ([]byte, error) {
	p.lent++
	return p.next(most)
}

func (p *pieces) next(most int) ([]byte, error) {
	if len(p.data) == 0 {
		return nil, io.EOF
	}
	n := min(most, len(p.data))
	next := p.data[:n]
	p.data = p.data[n:]
	return next, nil
}

func (p *pieces) Read(b []byte) (int, error) {
	next, err := p.next(len(b))
	return copy(b, next), err
}
