//go:build lab

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/redact"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/lab/cluster"
	"github.com/snapferry/snapferry/migration"
)

// transcripts is a part of the keys of what workers write of their requests.
const transcripts = "-lists/transcript/"

// A person who repeats what the transcript says by hand, on clusters that know nothing of the
// migration, and copies S3 to OSS before each restore, gets what the migration got.
func TestATranscriptCanBeRepeatedByHand(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "transcript", 400)
	s.noRoundBesides()
	s.worker()
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
	s.finish()

	console := s.starter(0, "transcript", s.name).Stdout
	s.noSecretIn("the transcript", console)
	require.Contains(t, console, redact.Mark)
	for _, request := range []string{
		`PUT /_snapshot/snapferry-transcript-\w+\?`, `PUT /_snapshot/snapferry-transcript-\w+/transcript-r0000-a1\?`,
		`POST /_snapshot/snapferry-transcript-\w+/transcript-r0000-a1/_restore\?`, `PUT /transcript/_settings\?`,
	} {
		require.Regexp(t, regexp.MustCompile(`(?m)^`+request), console)
	}
	var exchanges []migration.Exchange
	require.NoError(t, json.Unmarshal([]byte(s.starter(0, "transcript", s.name, "-o", "json").Stdout), &exchanges))
	found := s.countOnTarget()
	page := s.reportPage()
	s.noSecretIn("the page", page)
	require.Contains(t, page, "Round 0 (baseline)</strong>")
	require.Contains(t, page, fmt.Sprintf("There are %d requests.", len(exchanges)))
	require.Contains(t, page, redact.Mark+"&#34;")

	// Nothing of the migration is left, but for its block, which the transcript sets.
	t.Log(s.starter(0, "cleanup", "-f", s.planFile(), "--yes").Stdout)
	for _, object := range s.lab.OSS.Server.Objects(s.lab.OSS.Bucket) {
		require.False(t, strings.HasPrefix(object.Key, "snapferry/"+s.name+"/"),
			"%s: cleanup removes the transcript as well", object.Key)
	}
	require.Contains(t, s.reportPage(), "The transcript is empty")
	source, target := s.lab.Source.Direct(), s.lab.Target.Direct()
	require.NoError(t, target.Do(s.ctx, http.MethodDelete, "/"+s.index, nil, nil))
	require.NoError(t, source.Do(s.ctx, http.MethodPut, "/"+s.index+"/_settings",
		map[string]any{"index.blocks.write": nil}, nil))

	for _, e := range exchanges {
		s.repeat(map[string]*cluster.Client{"source": source, "target": target}[e.Side], e)
	}
	require.Equal(t, found-1, s.countOnTarget(), "but for the document of the test itself")
	require.NoError(t, s.put(target), "the target takes writes")
	require.ErrorContains(t, s.put(source), "cluster_block_exception")
}

// reportPage is the report as an HTML page.
func (s *scenario) reportPage() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "report.html")
	s.starter(0, "report", s.name, "--html", path)
	page, err := os.ReadFile(path)
	require.NoError(s.t, err)
	return string(page)
}

func (s *scenario) countOnTarget() int64 {
	s.t.Helper()
	require.NoError(s.t, s.lab.Target.Direct().Refresh(s.ctx, s.index))
	count, err := s.lab.Target.Direct().Count(s.ctx, s.index)
	require.NoError(s.t, err)
	return count
}

// repeat does by hand what an exchange says, and waits as a person would.
func (s *scenario) repeat(c *cluster.Client, e migration.Exchange) {
	s.t.Helper()
	if e.Status/100 != 2 || strings.HasPrefix(e.Path, "/_bulk") {
		return // what was refused, and probes that have to be
	}
	path, _, _ := strings.Cut(e.Path, "?")
	if strings.HasSuffix(path, "/_restore") {
		s.copyByHand()
	}
	var body any
	if e.Body != "" {
		text := e.Body
		for name, value := range map[string]string{
			"access_key_id": s.lab.OSS.ClusterKey.ID, "secret_access_key": s.lab.OSS.ClusterKey.Secret,
		} {
			text = strings.ReplaceAll(text, `"`+name+`":"`+redact.Mark+`"`, `"`+name+`":"`+value+`"`)
		}
		require.NotContains(s.t, text, redact.Mark)
		body = json.RawMessage(text)
	}
	var failure error
	s.until(func(ctx context.Context) (bool, error) {
		failure = c.Do(ctx, e.Method, e.Path, body, nil)
		return failure == nil || !strings.Contains(failure.Error(), "currently used"), nil // by the restore before
	})
	require.NoError(s.t, failure, "%s %s %s", e.Method, e.Path, e.Body)
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case e.Method == http.MethodPut && parts[0] == "_snapshot" && len(parts) == 3:
		s.until(func(ctx context.Context) (bool, error) {
			var answer struct {
				Snapshots []struct{ State string } `json:"snapshots"`
			}
			err := c.Do(ctx, http.MethodGet, path, nil, &answer)
			return err == nil && len(answer.Snapshots) == 1 && answer.Snapshots[0].State == "SUCCESS", err
		})
	case strings.HasSuffix(path, "/_restore"):
		s.until(func(ctx context.Context) (bool, error) {
			var health struct {
				Status       string `json:"status"`
				Initializing int    `json:"initializing_shards"`
			}
			err := c.Do(ctx, http.MethodGet, "/_cluster/health/"+s.index, nil, &health)
			return health.Status != "red" && health.Initializing == 0, err
		})
	}
}

func (s *scenario) until(done func(context.Context) (bool, error)) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		ok, err := done(s.ctx)
		return err == nil && ok
	}, lab.Patience, looksForAnEnd)
}

// copyByHand copies the plan's folder from S3 to OSS, as a copy tool does.
func (s *scenario) copyByHand() {
	s.t.Helper()
	client, bucket := s.lab.S3.Client(), aws.String(s.lab.S3.Bucket)
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{
		Bucket: bucket, Prefix: aws.String("snapferry/" + s.name + "/"),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(s.ctx)
		require.NoError(s.t, err)
		for _, object := range page.Contents {
			got, err := client.GetObject(s.ctx, &s3.GetObjectInput{Bucket: bucket, Key: object.Key})
			require.NoError(s.t, err)
			data, err := io.ReadAll(got.Body)
			require.NoError(s.t, err)
			require.NoError(s.t, got.Body.Close())
			require.NoError(s.t, s.lab.OSS.Server.Put(s.lab.OSS.Bucket, aws.ToString(object.Key), data))
		}
	}
}
