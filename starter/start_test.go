package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

const minimal = "examples/plan-minimal.yaml"

func TestStart(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	c := newConsole(t, fake)
	out, errs := c.run(exitOK, "start", "-f", minimal)
	golden.Equal(t, "testdata/start.txt", out)
	require.Empty(t, errs)
	require.Equal(t, "migration/movies", fake.started.ID)
	require.Equal(t, migration.TaskQueue, fake.started.TaskQueue)
	require.True(t, fake.started.WorkflowExecutionErrorWhenAlreadyStarted)
	require.Equal(t, enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, fake.started.WorkflowIDReusePolicy)
	require.Zero(t, fake.started.WorkflowExecutionTimeout, "a timeout would end the migration without cleaning up")
	require.LessOrEqual(t, len(fake.started.StaticSummary), 200)
	golden.Equal(t, "testdata/details.md", fake.started.StaticDetails)

	// What is sent decodes to the plan, with its defaults.
	wire, err := json.Marshal(fake.input)
	require.NoError(t, err)
	var input migration.Input
	require.NoError(t, json.Unmarshal(wire, &input))
	plan, err := input.Plan()
	require.NoError(t, err)
	require.Equal(t, moviesPlan(t), plan)
	require.Equal(t, 1, fake.closed)

	out, _ = c.run(exitOK, "start", "-f", minimal, "-o", "json")
	var result started
	require.NoError(t, json.Unmarshal([]byte(out), &result))
	require.Equal(t, started{
		WorkflowID: "migration/movies", RunID: "run-1", Namespace: "default",
		TaskQueue: "snapferry", Next: "starter watch movies",
	}, result)
}

func TestStartSummariesStayWithinTemporalsLimits(t *testing.T) {
	plan := moviesPlan(t)
	for range 3000 {
		plan.Indices = append(plan.Indices, "größe-2026-*")
	}
	options := startOptions(plan)
	require.LessOrEqual(t, len(options.StaticSummary), 200)
	require.Less(t, len(options.StaticDetails), 20_000)
}

func TestASecondStartMeetsTheFirst(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	fake.startErr = serviceerror.NewWorkflowExecutionAlreadyStarted("already started", "", "run-0")
	_, err := newConsole(t, fake).run(exitFailed, "start", "-f", minimal)
	require.Contains(t, err, "a migration movies is running already")
	require.Contains(t, err, "Next: starter status movies")
}

func TestStartSaysThatNobodyWorks(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	fake.pollers = nil
	_, err := newConsole(t, fake).run(exitOK, "start", "-f", minimal)
	require.Contains(t, err, "Warning: no worker polls task queue snapferry in namespace default")
	require.Contains(t, err, "Warning: no worker polls task queue snapferry-copy")
}

func TestStartWithAWrongPlanStartsNothing(t *testing.T) {
	fake := newFake(t)
	c := newConsole(t, fake)
	c.deps.in = strings.NewReader("name: movies")
	c.run(exitUsage, "start", "-f", "-")
	require.Nil(t, fake.started)
}

func TestStartAndWait(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)}, moment{state: enums.WORKFLOW_EXECUTION_STATUS_COMPLETED})
	fake.report = completedReport()
	out, _ := newConsole(t, fake).run(exitOK, "start", "-f", minimal, "--wait")
	require.Contains(t, out, "Started migration movies")
	require.Contains(t, out, "Migration movies has ended: completed.")
}

// The script must be one that a shell takes, and its JSON the plan.
func TestPrintCLI(t *testing.T) {
	fake := newFake(t)
	c := newConsole(t, fake)
	out, _ := c.run(exitOK, "start", "-f", minimal, "--print-cli", "--address", "temporal.example.com:7233")
	golden.Equal(t, "testdata/print-cli.sh", out)
	require.Nil(t, fake.started)

	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no shell")
	}
	script := exec.Command(sh, "-eu")
	script.Dir = t.TempDir()
	script.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	script.Stdin = strings.NewReader("temporal() { cat \"$plan\"; }\n" + out)
	printed, err := script.Output()
	require.NoError(t, err)
	plan, err := migration.Decode(printed)
	require.NoError(t, err)
	require.Equal(t, moviesPlan(t), plan)
	files, err := os.ReadDir(script.Dir)
	require.NoError(t, err)
	require.Empty(t, files, "nothing of the user's is written over")

	out, _ = c.run(exitOK, "start", "-f", minimal, "--print-cli", "-o", "json")
	require.True(t, json.Valid([]byte(out)))
}

func TestTemporalIsFoundByFlagsAndEnvironment(t *testing.T) {
	fake := newFake(t, moment{status: inRounds(t)})
	c := newConsole(t, fake)
	c.run(exitOK, "status", "movies")
	require.Equal(t, "localhost:7233", c.options.HostPort)

	c.deps.environment.(variables)["TEMPORAL_ADDRESS"] = "one:7233"
	c.deps.environment.(variables)["TEMPORAL_NAMESPACE"] = "search"
	c.run(exitOK, "status", "movies")
	require.Equal(t, "one:7233", c.options.HostPort)
	require.Equal(t, "search", c.options.Namespace)

	c.run(exitOK, "status", "movies", "--address", "two:7233", "--namespace", "tests")
	require.Equal(t, "two:7233", c.options.HostPort)
	require.Equal(t, "tests", c.options.Namespace)

	_, err := c.run(exitFailed, "status", "movies", "--profile", "nowhere")
	require.Contains(t, err, "check --profile")
}

func TestTemporalThatIsNotThere(t *testing.T) {
	c := newConsole(t, nil)
	c.deps.dial = func(context.Context, client.Options) (temporalClient, error) {
		return nil, errors.New("connection refused")
	}
	out, err := c.run(exitFailed, "status", "movies")
	require.Empty(t, out)
	require.Contains(t, err, "can't reach Temporal at localhost:7233 (connection refused); set the address with "+
		"--address, TEMPORAL_ADDRESS")
}

func TestErrorsOfTemporalBecomeSentences(t *testing.T) {
	for want, problem := range map[string]error{
		"has no namespace default":         serviceerror.NewNamespaceNotFound("default"),
		"refuses access":                   serviceerror.NewPermissionDenied("no", ""),
		"can't reach Temporal at":          serviceerror.NewUnavailable("down"),
		"Temporal at localhost:7233 answe": serviceerror.NewInternal("shard lost"),
	} {
		fake := newFake(t, moment{describeErr: problem})
		_, err := newConsole(t, fake).run(exitFailed, "status", "movies")
		require.Contains(t, err, want)
	}
	_, err := newConsole(t, newFake(t)).run(exitNotFound, "status", "books")
	require.Contains(t, err,
		"there is no migration books: no workflow with the id migration/books in namespace default")
}
