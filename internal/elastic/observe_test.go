package elastic_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/elastic/elastictest"
)

// observedCluster is a client whose exchanges are kept.
func observedCluster(t *testing.T) (*elastictest.Cluster, *elastic.Client, func() []elastic.Exchange) {
	c := elastictest.New(elastictest.NewStore())
	t.Cleanup(c.Close)
	c.Create("movies", 2, nil)
	client, err := elastic.New(elastic.Config{Endpoint: c.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	var found []elastic.Exchange
	observed := client.Observed(func(e elastic.Exchange) { found = append(found, e) })
	return c, observed, func() []elastic.Exchange {
		seen := found
		found = nil
		return seen
	}
}

func TestOnlyWhatMayChangeSomethingIsObserved(t *testing.T) {
	_, client, observed := observedCluster(t)
	ctx := t.Context()
	_, err := client.Indices(ctx, "*")
	require.NoError(t, err)
	require.NoError(t, client.Refresh(ctx, []string{"movies"}))
	_, err = client.Counts(ctx, []string{"movies"})
	require.NoError(t, err)
	_, err = client.Checksum(ctx, "movies", elastic.ChecksumOptions{})
	require.NoError(t, err)
	require.Empty(t, observed(), "they only ask")

	require.NoError(t, client.CloseIndices(ctx, []string{"movies"}))
	require.NoError(t, client.DeleteIndices(ctx, []string{"movies"}))
	seen := observed()
	require.Len(t, seen, 2)
	require.Equal(t, "POST", seen[0].Method)
	require.True(t, strings.HasPrefix(seen[0].Path, "/movies/_close?"), seen[0].Path)
	require.Equal(t, 200, seen[0].Status)
	require.JSONEq(t, `{"acknowledged":true}`, seen[0].Answer)
	require.False(t, seen[0].At.IsZero())
	require.Equal(t, "DELETE", seen[1].Method)
}

func TestExchangesHoldNoSecret(t *testing.T) {
	_, client, observed := observedCluster(t)
	const key, secret = "LTAI-key-of-oss", "a-secret-of-oss"
	err := client.PutRepository(t.Context(), "r", elastic.Repository{
		Type: "oss", Settings: map[string]any{"bucket": "b", "access_key_id": key, "secret_access_key": secret},
	})
	require.NoError(t, err)
	seen := observed()
	require.Len(t, seen, 1)
	require.Contains(t, seen[0].Body, `"bucket":"b"`)
	require.NotContains(t, seen[0].Body, secret)
	require.NotContains(t, seen[0].Body, key)
	require.True(t, json.Valid([]byte(seen[0].Body)), seen[0].Body)
	require.NotEmpty(t, seen[0].Answer)
}

func TestExchangesWithoutAnAnswer(t *testing.T) {
	c, client, observed := observedCluster(t)
	c.Lose("POST /movies/_close", 1)
	require.Error(t, client.CloseIndices(t.Context(), []string{"movies"}))
	seen := observed()
	require.Len(t, seen, 1)
	require.Zero(t, seen[0].Status)
	require.NotEmpty(t, seen[0].Failure)

	c.Refuse("POST /movies/_close", 1, 403, "security_exception", "no permission")
	require.Error(t, client.CloseIndices(t.Context(), []string{"movies"}))
	seen = observed()
	require.Len(t, seen, 1)
	require.Equal(t, 403, seen[0].Status)
	require.Contains(t, seen[0].Answer, "no permission")
}

// A long request is cut off, and nothing of a secret is left where it is cut, wherever that is.
func TestLongExchangesAreCutOff(t *testing.T) {
	const secret, length = "a-secret-of-this-cluster", 100 << 10
	for at := range 40 {
		c := elastictest.New(elastictest.NewStore())
		c.Create("movies", 1, nil)
		client, err := elastic.New(elastic.Config{Endpoint: c.URL, Redact: []string{secret}})
		require.NoError(t, err)
		var found []elastic.Exchange
		observed := client.Observed(func(e elastic.Exchange) { found = append(found, e) })
		text := []byte(strings.Repeat("x", length))
		for _, cut := range []int{16 << 10, 24 << 10} { // of the body, with and without the spare
			copy(text[cut-at-1:], secret)
		}
		_ = observed.PutIndexSettings(t.Context(), []string{"movies"}, map[string]any{"a": string(text)})
		require.Len(t, found, 1)
		require.Less(t, len(found[0].Body), 17<<10)
		require.Greater(t, len(found[0].Body), 12<<10)
		require.True(t, strings.HasSuffix(found[0].Body, " ..."))
		require.NotContains(t, found[0].Body, secret[:8])
		client.Close()
		c.Close()
	}
}
