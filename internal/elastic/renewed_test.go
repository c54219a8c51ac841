package elastic_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
)

// rotated credentials are others once they were refused.
type rotated struct{ key, next string }

func (r *rotated) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: r.key, SecretAccessKey: "secret-of-" + r.key}, nil
}

func (r *rotated) Refused(context.Context) bool {
	changed := r.key != r.next
	r.key = r.next
	return changed
}

// An access key that was replaced is refused in many words: each refusal has it read again.
func TestARefusedKeyIsReadAgain(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		credential := r.Header.Get("Authorization")
		asked = append(asked, string(body))
		if !strings.Contains(credential, "Credential=NEW/") || !json.Valid(body) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"message":"User: anonymous is not authorized to perform: es:ESHttpPut"}`)
			return
		}
		_, _ = io.WriteString(w, `{"acknowledged":true}`)
	}))
	defer server.Close()
	provider := &rotated{"OLD", "NEW"}
	client, err := elastic.New(elastic.Config{
		Endpoint: server.URL, Auth: elastic.SigV4{Region: region, Credentials: provider},
	})
	require.NoError(t, err)
	defer client.Close()
	set := func() error {
		return client.PutIndexSettings(t.Context(), []string{"a"}, map[string]any{"index.blocks.write": nil})
	}
	require.NoError(t, set(), "the block is removed with the new key")
	require.Len(t, asked, 2)
	require.Equal(t, asked[0], asked[1], "the body arrives again")
	provider.key, provider.next = "BAD", "BAD"
	err = set()
	require.Equal(t, elastic.Unauthorized, elastic.KindOf(err))
	require.ErrorContains(t, err, "not authorized to perform", "the answer isn't lost")
	require.Len(t, asked, 3, "with the same key it isn't tried again")
}

// The password of the cluster is changed while a client is in use.
func TestARefusedPasswordIsReadAgain(t *testing.T) {
	password, asked := "first-password", 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		body, _ := io.ReadAll(r.Body)
		user, got, _ := r.BasicAuth()
		if user != "elastic" || got != password || !json.Valid(body) {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			// A front end that shows what it was sent.
			answer, _ := json.Marshal(map[string]any{"message": "denied", "headers": r.Header})
			_, _ = w.Write(answer)
			return
		}
		_, _ = io.WriteString(w, `{"acknowledged":true}`)
	}))
	defer server.Close()
	again, failure := "first-password", error(nil)
	client, err := elastic.New(elastic.Config{Endpoint: server.URL, Auth: elastic.Basic{
		User: "elastic", Password: "first-password",
		Again: func(context.Context) (string, error) { return again, failure },
	}})
	require.NoError(t, err)
	defer client.Close()
	set := func() error {
		return client.PutIndexSettings(t.Context(), []string{"a"}, map[string]any{"index.blocks.write": nil})
	}
	require.NoError(t, set())
	password, again, asked = "second-password", "second-password", 0
	require.NoError(t, set())
	require.Equal(t, 2, asked)
	require.NoError(t, set())
	require.Equal(t, 3, asked, "the new one is kept")

	password, asked = "third-password", 0
	err = set()
	require.Equal(t, elastic.Unauthorized, elastic.KindOf(err))
	require.Equal(t, 1, asked)
	require.NotContains(t, err.Error(), "second-password")
	require.NotContains(t, err.Error(), "ZWxhc3RpYzpzZWNvbmQtcGFzc3dvcmQ", "nor in base64")
	failure = errors.New("the file is gone")
	require.Equal(t, elastic.Unauthorized, elastic.KindOf(set()))
}
