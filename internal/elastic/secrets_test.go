package elastic_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNoSecretGetsOut plants secrets everywhere and has the cluster quote them back.
func TestNoSecretGetsOut(t *testing.T) {
	planted := []string{
		"pass-w0rd", "PLANTED-extra", "LTAIplantedkey", "planted/secret+key", "planted-token",
		"unknownSecret99",
	}
	quote := answer{
		500,
		`{"error":{"type":"repository_exception","reason":"[oss_ro] failed to create repository with LTAIplantedkey",` +
			`"caused_by":{"type":"x","reason":"{\"access_key_id\":\"unknownSecret99\",\"secret_access_key\":\"planted/secret+key\"} PLANTED-extra pass-w0rd",` +
			`"caused_by":{"type":"y","reason":"settings security_token=planted-token, secret_access_key: unknownSecret99"}}},"status":500}`,
	}
	listing := ok(
		`{"oss_ro":{"type":"oss","settings":{"bucket":"b","access_key_id":"unknownSecret99","secret_access_key":"planted/secret+key","client":{"security_token":"planted-token"}}}}`)
	fake, _ := newFake(t, "5.5.3", map[string]answer{
		"PUT /_snapshot/oss_ro": quote, "GET /_snapshot/oss_ro/_all": quote, "GET /_snapshot/oss_ro": listing,
		"GET /_snapshot/oss_ro/s1": ok(
			`{"snapshots":[{"snapshot":"s1","state":"PARTIAL","failures":[{"index":"a","shard_id":1,"reason":"key LTAIplantedkey denied"}]}]}`),
	})
	config := elastic.Config{
		Endpoint: fake.URL, Auth: elastic.Basic{User: "elastic", Password: "pass-w0rd"},
		Redact: []string{"PLANTED-extra"},
	}
	client, err := elastic.New(config)
	require.NoError(t, err)
	defer client.Close()

	var texts []string
	see := func(values ...any) {
		for _, value := range values {
			texts = append(texts, fmt.Sprintf("%v|%+v|%#v|%s|%q", value, value, value, value, value))
			if err, isError := value.(error); isError {
				texts = append(texts, err.Error())
			}
		}
	}
	err = client.PutRepository(t.Context(), "oss_ro", elastic.Repository{Type: "oss", Settings: map[string]any{
		"bucket": "b", "access_key_id": "LTAIplantedkey", "secret_access_key": "planted/secret+key",
		"security_token": "planted-token", "readonly": true,
	}})
	require.Error(t, err)
	assert.Equal(t, elastic.Rejected, elastic.KindOf(err))
	assert.ErrorContains(t, err, "failed to create repository")
	failure, _ := errors.AsType[*elastic.Error](err)
	see(err, *failure)
	_, err = client.Snapshots(t.Context(), "oss_ro")
	see(err)
	repository, err := client.GetRepository(t.Context(), "oss_ro")
	require.NoError(t, err)
	assert.Equal(t, "b", repository.Settings["bucket"])
	see(repository)
	snapshot, err := client.Snapshot(t.Context(), "oss_ro", "s1")
	require.NoError(t, err)
	see(snapshot)
	see(config, &config, client, config.Auth)
	see(elastic.SigV4{Region: "r", Credentials: credentials.NewStaticCredentialsProvider("LTAIplantedkey",
		"planted/secret+key", "planted-token")})
	_, err = elastic.New(elastic.Config{Endpoint: "http://elastic:pass-w0rd@host"})
	require.Error(t, err)
	see(err)
	_, err = elastic.New(elastic.Config{Endpoint: "http://elastic:pass-w0rd@ho st:x"})
	require.Error(t, err)
	see(err)

	for _, text := range texts {
		for _, secret := range planted {
			assert.NotContains(t, text, secret)
		}
	}
	assert.Contains(t, fake.last().header.Get("Authorization"), "Basic ", "the secrets do travel where they must")
}

func TestUnusableConfigurationsAreRefused(t *testing.T) {
	for name, config := range map[string]elastic.Config{
		"no scheme":      {Endpoint: "host:9200"},
		"a path":         {Endpoint: "https://host/es"},
		"not a URL":      {Endpoint: "://"},
		"empty":          {},
		"empty password": {Endpoint: "https://host", Auth: elastic.Basic{User: "u"}},
		"no region":      {Endpoint: "https://host", Auth: elastic.SigV4{Credentials: aws.AnonymousCredentials{}}},
		"no credentials": {Endpoint: "https://host", Auth: elastic.SigV4{Region: "r"}},
		"not PEM":        {Endpoint: "https://host", CACert: []byte("x")},
	} {
		_, err := elastic.New(config)
		assert.Error(t, err, name)
	}
	client, err := elastic.New(elastic.Config{Endpoint: "https://host:9243///"})
	require.NoError(t, err)
	assert.Equal(t, "host:9243", client.Host())
}
