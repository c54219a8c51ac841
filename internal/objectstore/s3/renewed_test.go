package s3_test

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/awschain"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/s3"
)

// A copy lasts longer than its credentials, which a sidecar renews in their file.
func TestRefusedCredentialsAreReadAgain(t *testing.T) {
	valid := "SECOND"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+valid+"/") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `<Error><Code>ExpiredToken</Code><Message>you sent `+
				r.Header.Get("X-Amz-Security-Token")+`</Message></Error>`)
			return
		}
		_, _ = io.WriteString(w, "data")
	}))
	t.Cleanup(server.Close)
	inFile, now := "FIRST", time.Unix(1_700_000_000, 0)
	chain := awschain.NewFrom(func(context.Context) (aws.CredentialsProvider, error) {
		return credentials.NewStaticCredentialsProvider(inFile, secret, "planted-token-"+inFile), nil
	}, func() time.Time { return now })
	source := open(t, server.URL, func(o *s3.Options) { o.Credentials = chain })
	get := func() error {
		_, _, err := source.Get(t.Context(), "k", 100)
		return err
	}
	err := get()
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "you sent")
	require.NotContains(t, err.Error(), "planted")
	inFile, now = "SECOND", now.Add(time.Second)
	require.Equal(t, objectstore.Transient, objectstore.KindOf(get()), "the next attempt has the new ones")
	require.NoError(t, get())
	valid, now = "THIRD", now.Add(time.Minute)
	require.Equal(t, objectstore.Forbidden, objectstore.KindOf(get()))
}

func TestAnAuthorityOfItsOwn(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "data")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, _, err := open(t, server.URL).Get(t.Context(), "k", 100)
	require.ErrorContains(t, err, "certificate")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	_, _, err = open(t, server.URL, func(o *s3.Options) { o.CACert = ca }).Get(t.Context(), "k", 100)
	require.NoError(t, err)
	_, err = s3.New(t.Context(), s3.Options{Bucket: "shop-es", Region: "eu-west-1", CACert: []byte("none")})
	require.ErrorContains(t, err, "the CA certificate isn't in PEM form")
}
