package awschain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"
)

// A file of credentials is renewed by somebody else, as a sidecar does.
func TestRenewedFilesAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		text := "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = s-" + key + "\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(filepath.Dir(file), "none"))
	now := time.Unix(1_700_000_000, 0)
	c := New("eu-west-1")
	c.now = func() time.Time { return now }
	key := func() string {
		t.Helper()
		got, err := c.Retrieve(t.Context())
		require.NoError(t, err)
		return got.AccessKeyID
	}

	write("FIRST")
	require.Equal(t, "FIRST", key())
	require.False(t, c.Refused(t.Context()), "nothing has changed")
	write("SECOND")
	require.Equal(t, "FIRST", key(), "files are not read for each request")
	now = now.Add(keptFor)
	require.Equal(t, "SECOND", key())

	write("THIRD")
	now = now.Add(shortestKept)
	require.True(t, c.Refused(t.Context()), "a refusal has them read at once")
	require.Equal(t, "THIRD", key())
	require.Equal(t, []string{"s-THIRD", ""}, c.Secrets())
	require.True(t, c.Refused(t.Context()), "so was another request that was on its way")
	now = now.Add(freshFor)
	require.False(t, c.Refused(t.Context()), "a refusal of the new ones stays one")

	// Somebody is writing the file.
	require.NoError(t, os.WriteFile(file, []byte("[default"), 0o600))
	now = now.Add(keptFor)
	require.Equal(t, "THIRD", key(), "the ones before are kept")
	write("FOURTH")
	now = now.Add(triedAgain)
	require.Equal(t, "FOURTH", key(), "until the file can be read")
}

func TestNoChain(t *testing.T) {
	broken := errors.New("no configuration")
	c := NewFrom(func(context.Context) (aws.CredentialsProvider, error) { return nil, broken }, time.Now)
	_, err := c.Retrieve(t.Context())
	require.ErrorIs(t, err, broken)
	require.False(t, c.Refused(t.Context()))
}
