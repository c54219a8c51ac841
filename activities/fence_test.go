package activities

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/awschain"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

func TestSecrets(t *testing.T) {
	t.Setenv("TEST_SECRET", " s3cret\n")
	t.Setenv("TEST_EMPTY", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "planted-aws")
	folder := t.TempDir()
	file := filepath.Join(folder, "secret")
	require.NoError(t, os.WriteFile(file, []byte("from a file\n"), 0o600))
	k := keys{secrets.Fence{EnvPrefix: "TEST_", Dir: folder}}

	value, err := k.secret(t.Context(), "target.auth.password", "env:TEST_SECRET")
	require.NoError(t, err)
	require.Equal(t, "s3cret", value)
	value, err = k.secret(t.Context(), "target.auth.password", migration.SecretRef("file:"+file))
	require.NoError(t, err)
	require.Equal(t, "from a file", value)

	for ref, says := range map[migration.SecretRef]string{
		"env:TEST_EMPTY":                              "env:TEST_EMPTY",
		"env:TEST_NOT_SET_AT_ALL":                     "not set",
		migration.SecretRef("file:" + file + "-gone"): "no such file",
		"planted-in-the-plan":                         "must be a reference",
		"env:AWS_SECRET_ACCESS_KEY":                   "the worker's own",
		"env:HOME":                                    "--allow-references env:HOME",
		"file:/proc/self/environ":                     "a file of the system",
	} {
		_, err := k.secret(t.Context(), "target.auth.password", ref)
		var failure *temporal.ApplicationError
		require.ErrorAs(t, err, &failure)
		require.Equal(t, string(migration.ErrorSecret), failure.Type())
		require.True(t, failure.NonRetryable())
		require.Contains(t, failure.Message(), says)
		require.Contains(t, failure.Message(), "target.auth.password")
		require.NotContains(t, failure.Message(), "planted-")
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 {
		if _, err = k.secret(canceled, "x", migration.SecretRef("file:"+file)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, context.Canceled, "an abort doesn't wait for a file")
}

// thief is a server that whoever may start a workflow writes into the plan.
func thief(t *testing.T) (url string, stolen *[]string) {
	t.Helper()
	stolen = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*stolen = append(*stolen, r.Header.Get("Authorization")+" "+string(body))
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	return server.URL, stolen
}

// Whoever may start a workflow points an endpoint at a server of their own and names a secret of
// the worker, in every field that takes a reference.
func TestAPlanCannotStealTheWorkersSecrets(t *testing.T) {
	for field, change := range map[string]func(p *migration.Plan, url string, ref migration.SecretRef){
		"source.auth.password": func(p *migration.Plan, url string, ref migration.SecretRef) {
			p.Source.Endpoint, p.Source.Auth.Password = url, ref
		},
		"target.auth.password": func(p *migration.Plan, url string, ref migration.SecretRef) {
			p.Target.Endpoint, p.Target.Auth.Password = url, ref
		},
		"target.repository.secretAccessKey": func(p *migration.Plan, _ string, ref migration.SecretRef) {
			p.Target.Repository.SecretAccessKey = ref
		},
		"target.repository.writer.accessKeySecret": func(p *migration.Plan, url string, ref migration.SecretRef) {
			p.Target.Repository.Writer.Endpoint, p.Target.Repository.Writer.AccessKeySecret = url, ref
		},
		"cutover.webhook.authorization": func(p *migration.Plan, url string, ref migration.SecretRef) {
			p.Cutover.Webhook.URL, p.Cutover.Webhook.Authorization = url+"/hook", ref
		},
		"cutover.webhook.url": func(p *migration.Plan, _ string, ref migration.SecretRef) {
			p.Cutover.Webhook.URL = string(ref)
		},
		"target.caFile": func(p *migration.Plan, _ string, ref migration.SecretRef) {
			p.Target.CAFile = string(ref)[len("file:"):]
		},
	} {
		t.Run(field, func(t *testing.T) {
			w := newWorld(t)
			t.Setenv("AWS_SECRET_ACCESS_KEY", "planted-aws")
			t.Setenv("DATABASE_PASSWORD", "planted-database")
			outside := filepath.Join(t.TempDir(), "id_rsa")
			require.NoError(t, os.WriteFile(outside, []byte("planted-key"), 0o600))
			url, stolen := thief(t)
			for _, ref := range []migration.SecretRef{
				"env:AWS_SECRET_ACCESS_KEY", "env:DATABASE_PASSWORD", "file:/proc/self/environ",
				migration.SecretRef("file:" + outside),
			} {
				if field == "target.caFile" && ref[:3] == "env" {
					continue
				}
				run := w.run
				change(&run.Plan, url, ref)
				for _, method := range []any{
					w.activities.Preflight, w.activities.RegisterRepositories, w.activities.ResolveIndices,
				} {
					if _, err := do[any](w, method, run); err != nil {
						w.secret(err)
					}
				}
				_, err := do[any](w, w.activities.CallWebhook, migration.WebhookRequest{Run: run})
				w.secret(err)
				_, err = do[any](w, w.activities.RemoveBlock, migration.LiftRequest{
					Run: run, Found: migration.Blocks{"movies": {}},
				})
				w.secret(err)
				_, err = testKeys.openSink(t.Context(), run)
				w.secret(err)
				refused(w, migration.ErrorSecret, w.activities.Preflight, run, field)
			}
			for _, sent := range *stolen {
				require.NotContains(t, sent, "planted-aws")
				require.NotContains(t, sent, "planted-database")
				require.NotContains(t, sent, base64.StdEncoding.EncodeToString([]byte("writer:planted-aws")))
				require.NotContains(t, sent, base64.StdEncoding.EncodeToString([]byte("writer:planted-database")))
				require.NotContains(t, sent, base64.StdEncoding.EncodeToString([]byte("elastic:planted-database")))
			}
		})
	}
}

func TestEndpointsThatAreNotAllowedAreNotReached(t *testing.T) {
	w := newWorld(t)
	k := keys{secrets.Fence{EnvPrefix: "TEST_", Endpoints: []string{
		"127.0.0.1", "*.aliyuncs.com",
	}}}
	w.activities.keys, w.activities.cluster = k, newClusters(k).get
	must[migration.PreflightResult](w, w.activities.Preflight, w.run)

	k.fence.Endpoints = []string{"*.aliyuncs.com"}
	w.activities.keys, w.activities.cluster = k, newClusters(k).get
	before := len(w.from.Requests("*")) + len(w.to.Requests("*"))
	refused(w, migration.ErrorSecret, w.activities.Preflight, w.run, "source.endpoint: 127.0.0.1:",
		"target.endpoint: 127.0.0.1:", "cutover.webhook.url: 127.0.0.1:1", "--allow-endpoints")
	refused(w, migration.ErrorSecret, w.activities.ResolveIndices, w.run, "source.endpoint")
	refused(w, migration.ErrorSecret, w.activities.CallWebhook, migration.WebhookRequest{Run: w.run},
		"cutover.webhook.url")
	require.Len(t, append(w.from.Requests("*"), w.to.Requests("*")...), before)

	run := w.run
	run.Plan.Target.Repository.Writer.Endpoint = "https://oss.evil.example"
	_, err := k.openSink(t.Context(), run)
	require.ErrorContains(t, err, "target.repository.writer.endpoint: oss.evil.example is refused")
	run.Plan.Source.Repository.Reader.Endpoint = "https://s3.evil.example"
	_, err = k.openSource(t.Context(), run)
	require.ErrorContains(t, err, "source.repository.reader.endpoint: s3.evil.example is refused")
}

// A repository's settings are passed on to a cluster unchanged: a proxy in them would get the
// snapshots, so it is held against the endpoints, too.
func TestEndpointsInTheSettingsOfARepository(t *testing.T) {
	w := newWorld(t)
	k := keys{secrets.Fence{EnvPrefix: "TEST_", Endpoints: []string{"127.0.0.1", "*.aliyuncs.com", "proxy.shop:3128"}}}
	w.activities.keys, w.activities.cluster = k, newClusters(k).get
	for field, settings := range map[string]map[string]any{
		"proxy_host":                 {"proxy_host": "evil.example", "proxy_port": 3128},
		"proxy.host":                 {"proxy": map[string]any{"host": "evil.example"}},
		"proxyHost":                  {"proxyHost": "evil.example"},
		"proxy":                      {"proxy": "http://evil.example:3128"},
		"hosts":                      {"hosts": []any{"a.aliyuncs.com", "evil.example"}},
		"s3.client.default.endpoint": {"s3.client.default.endpoint": "evil.example"},
		// The right host, and a port that is not allowed.
		"a.proxy_host": {"a": map[string]any{"proxy_host": "proxy.shop", "proxy_port": 22}},
	} {
		for _, at := range []side{onSource, onTarget} {
			run := w.run
			if at == onSource {
				run.Plan.Source.Repository.Settings = settings
			} else {
				run.Plan.Target.Repository.Settings = settings
			}
			before := len(w.from.Requests("*")) + len(w.to.Requests("*"))
			text := string(at) + ".repository.settings." + field + ": "
			refused(w, migration.ErrorSecret, w.activities.RegisterRepositories, run, text, "--allow-endpoints")
			require.Len(t, append(w.from.Requests("*"), w.to.Requests("*")...), before, "nothing is registered")
			refused(w, migration.ErrorSecret, w.activities.Preflight, run, text)
		}
	}
	run := w.run
	run.Plan.Source.Repository.Endpoint = "s3.evil.example"
	refused(w, migration.ErrorSecret, w.activities.RegisterRepositories, run,
		"source.repository.endpoint: s3.evil.example")
	run = w.run
	run.Plan.Target.Repository.Settings = map[string]any{
		"proxy_host": "proxy.shop", "proxy_port": "3128", "max_restore_bytes_per_sec": "80mb",
	}
	must[any](w, w.activities.RegisterRepositories, run)

	// The removal of the block asks for none of it.
	run.Plan.Target.Repository.Settings = map[string]any{"proxy_host": "evil.example"}
	run.Plan.Source.Repository.Settings = map[string]any{"proxy_host": "evil.example"}
	must[migration.UnblockResult](w, w.activities.UnblockSource, migration.UnblockRequest{
		Run: run, Indices: []migration.SourceIndex{{Name: "movies"}},
	})
}

// A certificate authority of the plan's is trusted instead of the system's.
func TestAPlanBringsItsCertificateAuthority(t *testing.T) {
	w := newWorld(t)
	front := httptest.NewUnstartedServer(http.HandlerFunc(w.from.ServeHTTP))
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	t.Cleanup(front.Close)
	folder := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	k := keys{secrets.Fence{EnvPrefix: "TEST_", Dir: folder}}
	w.activities.keys, w.activities.cluster = k, newClusters(k).get
	w.run.Plan.Source.Endpoint = front.URL
	resolve := func() error {
		_, err := do[[]migration.Index](w, w.activities.ResolveIndices, w.run)
		return err
	}
	require.ErrorContains(t, resolve(), "certificate", "the system doesn't know the authority")

	ca := file("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}))
	w.run.Plan.Source.CAFile = ca
	require.NoError(t, resolve())

	// The same path with other content: no client of before is used.
	wrong := []byte("-----BEGIN PRIVATE KEY-----\nplanted-\n-----END PRIVATE KEY-----\n")
	require.NoError(t, os.WriteFile(ca, wrong, 0o600))
	err := resolve()
	requireType(t, migration.ErrorSecret, err)
	require.ErrorContains(t, err, "source.caFile: the file "+ca+" holds no certificate in PEM form")
	w.secret(err)
	w.run.Plan.Source.CAFile = filepath.Join(folder, "absent.pem")
	require.ErrorContains(t, resolve(), "source.caFile: read the secret file:"+folder+"/absent.pem: no such file")
	w.run.Plan.Source.CAFile = "/etc/ssl/certs/ca-certificates.crt"
	require.ErrorContains(t, resolve(), "source.caFile: file:/etc/ssl/certs/ca-certificates.crt is refused")
}

// The URL of a chat's webhook is a secret as a whole, and a receiver may repeat what it was sent in
// its status line.
func TestTheWebhooksSecretsStayOutOfMessages(t *testing.T) {
	w := newWorld(t)
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		connection, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer connection.Close()
		_, _ = io.WriteString(connection, "HTTP/1.1 403 you sent "+r.Header.Get("Authorization")+" to "+r.Host+
			r.URL.RequestURI()+" as "+base64.StdEncoding.EncodeToString([]byte("x:"+r.Header.Get("Authorization")))+
			"\r\nContent-Length: 0\r\n\r\n")
	}))
	t.Cleanup(receiver.Close)
	t.Setenv("TEST_URL", receiver.URL+"/services/planted-path?token=planted-query")
	w.run.Plan.Cutover.Webhook.URL = "env:TEST_URL"
	request := migration.WebhookRequest{Run: w.run}
	failure := refusal(w, migration.ErrorWebhook, w.activities.CallWebhook, request, "env:TEST_URL", "it answered 403")
	require.NotContains(t, failure.Message(), receiver.Listener.Addr().String())
	require.NotContains(t, failure.Message(), base64.StdEncoding.EncodeToString([]byte("x:"+webhookSecret)))
	receiver.Close()
	_, err := do[any](w, w.activities.CallWebhook, request)
	require.ErrorContains(t, err, "call the webhook at env:TEST_URL")
	w.secret(err)
	require.NotContains(t, err.Error(), receiver.Listener.Addr().String())

	w.run.Plan.Cutover.Webhook.URL = "https://hooks.slack.com/services/T0AAA0AAA/B0AAA0AAA/planted-abcdefghijklmnop"
	refused(w, migration.ErrorPreflight, w.activities.Preflight, w.run, "cutover.webhook.url has a secret in its path",
		"env:SNAPFERRY_SECRET_WEBHOOK_URL")
}

// AWS credentials are in a file that somebody renews, and Amazon no longer takes the old ones. The
// block is removed at once, without a restart.
func TestRenewedCredentialsRemoveTheBlock(t *testing.T) {
	w := newWorld(t)
	request := w.request()
	found := must[migration.Blocks](w, w.activities.ReadBlocks, request)
	valid, now := "FIRST", time.Unix(1_700_000_000, 0)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+valid+"/") {
			rw.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(rw, `{"message":"The security token included in the request is expired"}`)
			return
		}
		r.SetBasicAuth("writer", sourcePassword)
		w.from.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		text := "[default]\naws_access_key_id = " + key + "\naws_secret_access_key = secret\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	write("FIRST")
	c := newClusters(testKeys)
	c.chain = func(region string) *awschain.Credentials {
		return awschain.NewFrom(func(ctx context.Context) (aws.CredentialsProvider, error) {
			loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
			return loaded.Credentials, err
		}, func() time.Time { return now })
	}
	w.activities.cluster = c.get
	request.Plan.Source.Endpoint = front.URL
	request.Plan.Source.Auth = migration.Auth{Type: migration.AuthSigV4, Region: "eu-west-1"}
	must[any](w, w.activities.BlockWrites, request)

	write("SECOND")
	valid, now = "SECOND", now.Add(time.Hour/6)
	must[any](w, w.activities.RemoveBlock, migration.LiftRequest{Run: request.Run, Found: found})
	write("THIRD")
	valid, now = "THIRD", now.Add(2*time.Second)
	must[any](w, w.activities.RemoveBlock, migration.LiftRequest{Run: request.Run, Found: found})
	require.NoError(t, w.from.Index("movies", "after"))

	valid, now = "FOURTH", now.Add(2*time.Minute)
	refused(w, migration.ErrorUnauthorized, w.activities.BlockWrites, request, "expired")
}
