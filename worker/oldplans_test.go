package main

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/migration"
)

// server is a Temporal server on which workflows run.
type server struct {
	client.Client
	t      *testing.T
	inputs map[string]any
	ids    []string
	err    error
}

func (s *server) ListWorkflow(_ context.Context,
	request *workflowservice.ListWorkflowExecutionsRequest,
) (*workflowservice.ListWorkflowExecutionsResponse, error) {
	require.Contains(s.t, request.Query, "Running")
	answer := &workflowservice.ListWorkflowExecutionsResponse{}
	n := int(append(request.NextPageToken, 0)[0])
	answer.Executions = append(answer.Executions, &workflowpb.WorkflowExecutionInfo{
		Execution: &commonpb.WorkflowExecution{WorkflowId: s.ids[n], RunId: "r"},
	})
	if n+1 < len(s.ids) {
		answer.NextPageToken = []byte{byte(n + 1)}
	}
	return answer, s.err
}

func (s *server) GetWorkflowHistory(_ context.Context, id, _ string, _ bool,
	_ enums.HistoryEventFilterType,
) client.HistoryEventIterator {
	return &started{s, id}
}

type started struct {
	*server
	id string
}

func (s *started) HasNext() bool { return true }
func (s *started) Next() (*historypb.HistoryEvent, error) {
	payloads, err := converter.GetDefaultDataConverter().ToPayloads(s.inputs[s.id])
	require.NoError(s.t, err)
	return &historypb.HistoryEvent{Attributes: &historypb.HistoryEvent_WorkflowExecutionStartedEventAttributes{
		WorkflowExecutionStartedEventAttributes: &historypb.WorkflowExecutionStartedEventAttributes{Input: payloads},
	}}, nil
}

// A worker with a fence takes over migrations of one without. It says which of them it can't carry
// on, and which flags let them go on.
func TestAWorkerNamesThePlansThatItRefuses(t *testing.T) {
	plan := func(password migration.SecretRef) migration.Plan {
		return migration.Plan{
			Source: migration.Source{Endpoint: "https://search-a.es.amazonaws.com"},
			Target: migration.Target{
				Endpoint: "http://es.example.com:9200", Auth: migration.Auth{Password: password},
				Repository: migration.TargetRepository{AccessKeyID: password},
			},
		}
	}
	s := &server{t: t, ids: []string{"migration/old", "migration/new", "audit/old", "other"}, inputs: map[string]any{
		"migration/old": plan("env:TARGET_PASSWORD"),
		"migration/new": plan("env:SNAPFERRY_SECRET_TARGET_PASSWORD"),
		"audit/old":     migration.AuditRequest{Plan: plan("file:/etc/snapferry/key")},
		"other":         []string{"no plan"},
	}}
	said := func(fence secrets.Fence) string {
		var log bytes.Buffer
		logger, _ := newLogger(config{logLevel: "info", logFormat: formatJSON}, &log)
		warnOfOldPlans(t.Context(), s, "default", fence, logger)
		return log.String()
	}
	text := said(secrets.Fence{})
	require.Contains(t, text, `"workflow":"migration/old","refused":["target.auth.password: env:TARGET_PASSWORD",`+
		`"target.repository.accessKeyId: env:TARGET_PASSWORD"],"flags":"--allow-references env:TARGET_PASSWORD"`)
	require.Contains(t, text, `"workflow":"audit/old"`)
	require.Contains(t, text, "--allow-references file:/etc/snapferry/key")
	require.NotContains(t, text, "migration/new")

	require.Empty(t, said(secrets.Fence{Allowed: []string{"env:TARGET_PASSWORD", "file:/etc/snapferry/key"}}))
	text = said(secrets.Fence{
		Allowed:   []string{"env:TARGET_PASSWORD", "file:/etc/snapferry/key"},
		Endpoints: []string{"*.es.amazonaws.com"},
	})
	require.Contains(t, text, "target.endpoint: es.example.com:9200")

	s.err = errors.New("no visibility")
	require.Contains(t, said(secrets.Fence{}), "can't tell whether")
}

func TestAFenceIsConfigured(t *testing.T) {
	c, err := configured(t, variables{
		"SNAPFERRY_SECRETS_ENV_PREFIX": "SHOP_", "SNAPFERRY_ALLOW_REFERENCES": "env:A, file:/etc/b",
	}, "--secrets-dir", "/run/shop", "--allow-endpoints", "*.es.amazonaws.com,es.example.com:9200")
	require.NoError(t, err)
	require.Equal(t, secrets.Fence{
		EnvPrefix: "SHOP_", Dir: "/run/shop", Allowed: []string{"env:A", "file:/etc/b"},
		Endpoints: []string{"*.es.amazonaws.com", "es.example.com:9200"},
	}, c.fence)
	c, err = configured(t, nil)
	require.NoError(t, err)
	require.Equal(t, secrets.Fence{EnvPrefix: secrets.DefaultEnvPrefix, Dir: secrets.DefaultDir}, c.fence)
	for _, args := range [][]string{
		{"--secrets-env-prefix", "AWS_"},
		{"--secrets-dir", "/"},
		{"--allow-references", "env:AWS_SECRET_ACCESS_KEY"},
		{"--allow-endpoints", "https://x"},
	} {
		_, err := configured(t, nil, args...)
		require.ErrorContains(t, err, args[0]+": ")
		require.Equal(t, 2, codeOf(err))
	}
}
