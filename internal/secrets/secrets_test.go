package secrets_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/secrets"
)

// folder is a worker's folder of secrets, with something outside that nobody may read.
func folder(t *testing.T) (fence secrets.Fence, outside string) {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "plans")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "..data"), 0o700))
	outside = filepath.Join(base, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("planted-outside"), 0o600))
	return secrets.Fence{Dir: dir}, outside
}

func write(t *testing.T, content string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
	return name
}

func TestPlansReadWhatTheyMay(t *testing.T) {
	fence, outside := folder(t)
	t.Setenv("SNAPFERRY_SECRET_TARGET", " from-a-variable\n")
	t.Setenv("TARGET_PASSWORD", "of-an-old-plan")
	file := write(t, "from-a-file\n", fence.Dir, "key")
	// As Kubernetes mounts a secret: a link to a link, both relative, within the folder.
	write(t, "from-a-mount", fence.Dir, "..data", "password")
	require.NoError(t, os.Symlink("..data/password", filepath.Join(fence.Dir, "password")))

	for ref, want := range map[string]string{
		"env:SNAPFERRY_SECRET_TARGET":                       "from-a-variable",
		"file:" + file:                                      "from-a-file",
		"file:" + fence.Dir + "/../plans/key":               "from-a-file",
		"file:" + filepath.Join(fence.Dir, "password"):      "from-a-mount",
		"file:" + filepath.Join(fence.Dir, "..data/../key"): "from-a-file",
	} {
		got, err := fence.Read(t.Context(), ref)
		require.NoError(t, err, ref)
		require.Equal(t, want, got)
	}

	fence.Allowed = []string{"env:TARGET_PASSWORD", "file:" + outside}
	got, err := fence.Read(t.Context(), "env:TARGET_PASSWORD")
	require.NoError(t, err)
	require.Equal(t, "of-an-old-plan", got)
	got, err = fence.Read(t.Context(), "file:"+outside)
	require.NoError(t, err)
	require.Equal(t, "planted-outside", got)

	fence = secrets.Fence{EnvPrefix: "SHOP_"}
	t.Setenv("SHOP_KEY", "of-the-shop")
	got, err = fence.Read(t.Context(), "env:SHOP_KEY")
	require.NoError(t, err)
	require.Equal(t, "of-the-shop", got)
	_, err = fence.Read(t.Context(), "env:SNAPFERRY_SECRET_TARGET")
	require.ErrorContains(t, err, "SHOP_")
}

// What whoever can start a workflow might try. None of it is read, none of it hangs.
func TestAttacks(t *testing.T) {
	fence, outside := folder(t)
	inside := func(name string) string { return filepath.Join(fence.Dir, name) }
	for name, value := range map[string]string{
		"AWS_SECRET_ACCESS_KEY": "planted-aws", "TEMPORAL_API_KEY": "planted-temporal", "HOME_SECRET": "planted-home",
		"SNAPFERRY_SECRET_SHORT": "abc", "SNAPFERRY_SECRET_EMPTY": " ",
		"AWS_WEB_IDENTITY_TOKEN_FILE": inside("token"),
	} {
		t.Setenv(name, value)
	}
	write(t, "planted-token", fence.Dir, "token")
	require.NoError(t, os.Symlink(outside, inside("absolute")))
	require.NoError(t, os.Symlink("../outside", inside("relative")))
	require.NoError(t, os.Symlink("/proc/self/environ", inside("environ")))
	require.NoError(t, os.Symlink("..", inside("up")))
	require.NoError(t, os.Symlink("/dev/zero", inside("zero")))
	require.NoError(t, os.Symlink("token", inside("alias")))
	require.NoError(t, os.Symlink("loop", inside("loop")))
	require.NoError(t, syscall.Mkfifo(inside("fifo"), 0o600))
	require.NoError(t, os.Mkdir(inside("directory"), 0o700))
	write(t, strings.Repeat("x", secrets.MaxFile+1), fence.Dir, "large")
	write(t, strings.Repeat("x", secrets.MaxFile), fence.Dir, "full")
	write(t, "\n", fence.Dir, "empty")
	write(t, "planted-k8s", fence.Dir, "k8s")

	for ref, says := range map[string]string{
		"env:AWS_SECRET_ACCESS_KEY":                            "AWS_ are the worker's own",
		"env:aws_secret_access_key":                            "AWS_ are the worker's own",
		"env:TEMPORAL_API_KEY":                                 "TEMPORAL_ are the worker's own",
		"env:HOME_SECRET":                                      "--allow-references env:HOME_SECRET",
		"env:SNAPFERRY_SECRET_":                                "plans may name only",
		"env:SNAPFERRY_SECRET_SHORT":                           "fewer than 4 characters",
		"env:SNAPFERRY_SECRET_EMPTY":                           "empty",
		"env:SNAPFERRY_SECRET_ABSENT":                          "not set",
		"env:PATH":                                             "that begin with SNAPFERRY_SECRET_",
		"file:/proc/self/environ":                              "a file of the system",
		"file:/proc/../proc/self/environ":                      "a file of the system",
		"file:/proc/self/cwd/x":                                "a file of the system",
		"file:/dev/zero":                                       "a file of the system",
		"file:/sys/kernel/uevent_helper":                       "a file of the system",
		"file:/etc/passwd":                                     "--secrets-dir",
		"file:" + fence.Dir:                                    "plans may name only files below",
		"file:" + fence.Dir + "-other/key":                     "plans may name only files below",
		"file:" + inside("../outside"):                         "plans may name only files below",
		"file:" + inside("up/outside"):                         "a link that leads out of",
		"file:" + inside("absolute"):                           "a link that leads out of",
		"file:" + inside("relative"):                           "a link that leads out of",
		"file:" + inside("environ"):                            "a file of the system",
		"file:" + inside("zero"):                               "a file of the system",
		"file:" + inside("loop"):                               "too many levels of symbolic links",
		"file:" + inside("fifo"):                               "not a regular file",
		"file:" + inside("directory"):                          "not a regular file",
		"file:" + inside("large"):                              "more than 64 KiB",
		"file:" + inside("empty"):                              "the file is empty",
		"file:" + inside("absent"):                             "no such file",
		"file:" + inside("token"):                              "AWS_WEB_IDENTITY_TOKEN_FILE names this file",
		"file:" + inside("alias"):                              "AWS_WEB_IDENTITY_TOKEN_FILE names this file",
		"file:/run/secrets/kubernetes.io/serviceaccount/token": "a credential of the worker itself",
	} {
		_, err := fence.Read(t.Context(), ref)
		require.ErrorContains(t, err, says, ref)
		require.ErrorContains(t, err, ref)
		require.NotContains(t, err.Error(), "planted-")
	}
	full, err := fence.Read(t.Context(), "file:"+inside("full"))
	require.NoError(t, err)
	require.Len(t, full, secrets.MaxFile)

	// Not even for whoever may read past the fence.
	for _, ref := range []string{"env:AWS_SECRET_ACCESS_KEY", "file:/proc/self/environ", "file:" + inside("token")} {
		_, err := fence.Opened(ref).Read(t.Context(), ref)
		require.Error(t, err)
	}
	value, err := fence.Opened("env:HOME_SECRET", "env:OTHER").Read(t.Context(), "env:HOME_SECRET")
	require.NoError(t, err)
	require.Equal(t, "planted-home", value)
	value, err = fence.Opened().Read(t.Context(), "env:SNAPFERRY_SECRET_SHORT")
	require.NoError(t, err)
	require.Equal(t, "abc", value)
	_, err = fence.Read(t.Context(), "env:HOME_SECRET")
	require.Error(t, err, "that was for once")
}

func TestAReadEndsWithItsContext(t *testing.T) {
	fence, _ := folder(t)
	write(t, "secret", fence.Dir, "key")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // the answer may come first
		if _, err := fence.Read(ctx, "file:"+filepath.Join(fence.Dir, "key")); err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	}
}

func TestAFenceThatIsNone(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink("/proc", link))
	for flag, all := range map[string][]secrets.Fence{
		secrets.FlagEnvPrefix: {
			{EnvPrefix: "AWS_"}, {EnvPrefix: "AWS_SECRET_"}, {EnvPrefix: "temporal_x"}, {EnvPrefix: "a b"},
		},
		secrets.FlagDir: {{Dir: "/"}, {Dir: "//"}, {Dir: "relative"}, {Dir: "/proc/self"}, {Dir: "/dev"}, {Dir: link}},
		secrets.FlagAllowed: {
			{Allowed: []string{"env:AWS_SECRET_ACCESS_KEY"}},
			{Allowed: []string{"file:/proc/self/environ"}},
			{Allowed: []string{"TARGET_PASSWORD"}},
			{Allowed: []string{"env:*"}},
			{Allowed: []string{"file:key"}},
		},
		secrets.FlagEndpoints: {
			{Endpoints: []string{"*"}}, {Endpoints: []string{"https://a.b"}}, {Endpoints: []string{""}},
		},
	} {
		for _, fence := range all {
			got, problem := fence.Problem()
			require.Equal(t, flag, got, "%+v", fence)
			require.NotEmpty(t, problem)
		}
	}
	_, problem := secrets.Fence{
		Dir: t.TempDir(), Allowed: []string{"env:A", "file:/etc/key"},
		Endpoints: []string{"*.example.com", "127.0.0.1:9200", "[::1]:9200", "localhost"},
	}.Problem()
	require.Empty(t, problem)
	_, problem = secrets.Fence{}.Problem()
	require.Empty(t, problem)
}

func TestEndpoints(t *testing.T) {
	var any secrets.Fence
	require.NoError(t, any.Endpoint("https://anywhere.example.org"))
	fence := secrets.Fence{Endpoints: []string{
		"*.es.amazonaws.com", "ES.example.com:9200", "10.0.0.7", "[::1]:9243", "hooks.example.com",
	}}
	for _, endpoint := range []string{
		"", "https://search-a.eu-west-1.es.amazonaws.com", "https://SEARCH.es.amazonaws.com.:443",
		"http://es.example.com:9200", "http://10.0.0.7:1", "https://[::1]:9243", "https://hooks.example.com/a?b",
		"hooks.example.com",
	} {
		require.NoError(t, fence.Endpoint(endpoint), endpoint)
	}
	for _, endpoint := range []string{
		"https://es.amazonaws.com", "https://evil.com", "https://es.amazonaws.com.evil.com",
		"https://evil.com/.es.amazonaws.com", "https://evil.com#.es.amazonaws.com",
		"https://evil.com?x=.es.amazonaws.com",
		"https://xes.amazonaws.com", "http://es.example.com", "https://es.example.com:9201",
		"https://10.0.0.7@evil.com", "https://hooks.example.com@evil.com/", "http:evil.com", "://", "10.0.0.77",
		`https://evil.com\.es.amazonaws.com`,
	} {
		require.Error(t, fence.Endpoint(endpoint), endpoint)
	}
	require.ErrorContains(t, fence.Endpoint("https://evil.com:8"), "evil.com:8 is refused")
	require.ErrorContains(t, fence.Endpoint("https://evil.com:8"), "--allow-endpoints ...,evil.com")
}
