package migration

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wholeHooks has hooks of each kind at each moment.
const wholeHooks = `hooks:
  beforeBlock:
  - name: stop-writers
    activity: {type: StopWriters, taskQueue: ours}
    timeout: 30s
    attempts: 5
  - name: tell-team
    http:
      url: https://deploy.example.com/hooks/freeze
      headers: {X-Team: search, Authorization: env:SNAPFERRY_SECRET_TOKEN}
      signingSecret: env:SNAPFERRY_SECRET_SIGNING
  afterBlock:
  - {name: drain, workflow: {type: Drain, taskQueue: ours}}
  beforeHandover:
  - {name: ready, http: {url: file:/run/secrets/hook}}
  afterHandover:
  - {name: dns, workflow: {type: SwitchDns, taskQueue: ours}}
  afterThaw:
  - {name: start-writers, activity: {type: StartWriters, taskQueue: ours}}
`

func TestAPlanWithHooks(t *testing.T) {
	plan, err := Decode([]byte(wholePlan + wholeHooks))
	require.NoError(t, err)
	stop := plan.Hooks.BeforeBlock[0]
	require.Equal(t, Duration(30*time.Second), stop.Timeout)
	require.Equal(t, 5, stop.Attempts)
	require.Equal(t, DefaultHookTimeout, plan.Hooks.AfterThaw[0].Timeout)
	require.Equal(t, DefaultHookAttempts, plan.Hooks.AfterThaw[0].Attempts)
	require.Len(t, plan.Hooks.At(HookBeforeBlock), 2)

	var named, reached []string
	for _, r := range plan.References() {
		if strings.HasPrefix(r.Field, "hooks.") {
			named = append(named, r.Field+" = "+string(r.Ref))
		}
	}
	require.Equal(t, []string{
		"hooks.beforeBlock[1].http.headers.Authorization = env:SNAPFERRY_SECRET_TOKEN",
		"hooks.beforeBlock[1].http.signingSecret = env:SNAPFERRY_SECRET_SIGNING",
		"hooks.beforeHandover[0].http.url = file:/run/secrets/hook",
	}, named)
	for _, e := range plan.Endpoints() {
		if strings.HasPrefix(e.Field, "hooks.") {
			reached = append(reached, e.Field)
		}
	}
	require.Equal(t, []string{"hooks.beforeBlock[1].http.url"}, reached)
}

// A plan without hooks is the plan that it was: nothing of hooks stands in what activities are told.
func TestAPlanWithoutHooksSaysNothingOfThem(t *testing.T) {
	plan, err := Decode([]byte(wholePlan))
	require.NoError(t, err)
	text, err := json.Marshal(plan)
	require.NoError(t, err)
	require.NotContains(t, string(text), "hooks")
}

func TestWrongHooks(t *testing.T) {
	const hunter = "hunter2hunter2"
	for name, test := range map[string]struct{ hooks, says, remedy string }{
		"no kind": {
			"beforeBlock: [{name: stop}]",
			"hooks.beforeBlock[0] (stop) must have exactly one of http, activity and workflow",
			"for example activity: {type: StopWriters, taskQueue: ours}",
		},
		"two kinds": {
			"beforeBlock: [{name: stop, http: {url: env:U}, activity: {type: A, taskQueue: q}}]",
			"must have exactly one of http, activity and workflow", "",
		},
		"a name twice": {
			"afterThaw: [{name: a, http: {url: env:U}}, {name: a, http: {url: env:U}}]",
			"hooks.afterThaw[1].name (a) is the name of another hook of hooks.afterThaw", "a name of its own",
		},
		"a bad name": {
			"afterThaw: [{name: Start Writers, http: {url: env:U}}]",
			"hooks.afterThaw[0].name (Start Writers) is not a valid name", "for example name: stop-writers",
		},
		"too many": {
			"afterThaw: [" + strings.Repeat("{name: a, http: {url: env:U}}, ", 6) + "]",
			"hooks.afterThaw (6) has more than 5 hooks",
			"one hook do what several do",
		},
		"our own queue": {
			"beforeBlock: [{name: stop, activity: {type: LiftBlock, taskQueue: snapferry}}]",
			"hooks.beforeBlock[0].activity.taskQueue (snapferry) is a queue of snapferry's", "taskQueue: ours",
		},
		"the guard's queue": {
			"beforeBlock: [{name: stop, workflow: {type: Guard, taskQueue: " + GuardTaskQueue + "}}]",
			"hooks.beforeBlock[0].workflow.taskQueue", "",
		},
		"no type": {
			"beforeBlock: [{name: stop, workflow: {taskQueue: q}}]",
			"hooks.beforeBlock[0].workflow.type is missing",
			"type: StopWriters",
		},
		"longer than the window": {
			"beforeBlock: [{name: stop, http: {url: env:U}, timeout: 10m}]",
			"hooks.beforeBlock[0].timeout (10m) must be less than freeze.maxDuration (5m)", "timeout: 1m",
		},
		"longer than an hour": {
			"afterThaw: [{name: start, http: {url: env:U}, timeout: 2h}]",
			"hooks.afterThaw[0].timeout (2h) must be at most 1h",
			"timeout: 1m",
		},
		"too many attempts": {
			"afterThaw: [{name: start, http: {url: env:U}, attempts: 11}]",
			"hooks.afterThaw[0].attempts (11) must be from 1 to 10",
			"attempts: 3",
		},
		"no attempt": {
			"afterThaw: [{name: start, http: {url: env:U}, attempts: 0}]", "hooks.afterThaw[0].attempts", "attempts: 3",
		},
		"a URL with a query": {
			"afterThaw: [{name: start, http: {url: \"https://h.example.com/?token=" + hunter + "\"}}]",
			"hooks.afterThaw[0].http.url must have no query and no fragment", "",
		},
		"a secret in a header": {
			"afterThaw: [{name: start, http: {url: env:U, headers: {Authorization: Bearer " + hunter + "}}}]",
			"hooks.afterThaw[0].http.headers.Authorization must be a reference to a secret",
			"env:SNAPFERRY_SECRET_HOOK_TOKEN",
		},
		"a key in a header": {
			"afterThaw: [{name: start, http: {url: env:U, headers: {X-Api-Key: " + hunter + "}}}]",
			"hooks.afterThaw[0].http.headers.X-Api-Key must be a reference to a secret", "",
		},
		"our own header": {
			"afterThaw: [{name: start, http: {url: env:U, headers: {Idempotency-Key: a}}}]",
			"hooks.afterThaw[0].http.headers.Idempotency-Key is a header that snapferry sets itself", "leave it out",
		},
		"a line feed in a header": {
			"afterThaw: [{name: start, http: {url: env:U, headers: {X-A: \"a\\nb\"}}}]",
			"hooks.afterThaw[0].http.headers.X-A must be one line",
			"",
		},
		"a header's name": {
			"afterThaw: [{name: start, http: {url: env:U, headers: {\"X A\": a}}}]",
			"hooks.afterThaw[0].http.headers (X A) is not the name of a header", "letters, digits and hyphens",
		},
		"the worker's own": {
			"afterThaw: [{name: start, http: {url: env:U, signingSecret: env:AWS_SECRET_ACCESS_KEY}}]",
			"hooks.afterThaw[0].http.signingSecret (env:AWS_SECRET_ACCESS_KEY) belongs to the worker itself",
			"a variable of its own",
		},
		"the worker's own in a header": {
			"afterThaw: [{name: start, http: {url: env:U, headers: {X-A: env:TEMPORAL_API_KEY}}}]",
			"hooks.afterThaw[0].http.headers.X-A (env:TEMPORAL_API_KEY) belongs to the worker itself", "",
		},
		"an unknown field": {
			"afterThaw: [{name: start, http: {url: env:U}, retries: 3}]",
			"hooks.afterThaw[0].retries is not a field of a plan",
			"attempts",
		},
		"a number for a secret": {
			"afterThaw: [{name: start, http: {url: env:U, signingSecret: 4711471147}}]",
			"hooks.afterThaw[0].http.signingSecret must be a string", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(wholePlan + "freeze: {maxDuration: 5m}\nhooks:\n  " + test.hooks + "\n"))
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, test.remedy)
			require.NotContains(t, err.Error(), hunter)
			require.NotContains(t, err.Error(), "4711471147")
		})
	}
}

func TestAHookWhoseURLIsASecretIsNoticed(t *testing.T) {
	call := HookHTTP{URL: "https://hooks.slack.com/services/T0/B0/x"}
	plan := Plan{Hooks: Hooks{AfterThaw: []Hook{{Name: "a", HTTP: call}}}}
	require.Len(t, plan.Exposed(), 1)
	require.Contains(t, plan.Exposed()[0].String(), "hooks.afterThaw[0].http.url has a secret in its path")
	require.NotContains(t, plan.Exposed()[0].String(), "services")
}

func TestWhatAHookAnswers(t *testing.T) {
	for text, want := range map[string]struct {
		refuses bool
		says    string
	}{
		`null`:                   {false, ""},
		`{}`:                     {false, ""},
		`"3 writers stopped"`:    {false, "3 writers stopped"},
		`{"message": "stopped"}`: {false, "stopped"},
		`{"proceed": true, "message": "stopped", "host": 7}`: {false, "stopped"},
		`{"proceed": false, "reason": "a job runs"}`:         {true, "a job runs"},
		`{"proceed": false, "message": "no"}`:                {true, "no"},
		`{"proceed": false}`:                                 {true, ""},
	} {
		var answer HookAnswer
		require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
		require.Equal(t, want.refuses, answer.Refuses(), text)
		require.Equal(t, want.says, answer.Says(), text)
	}
	// What can't be understood is no consent.
	for _, text := range []string{`{"proceed": "false"}`, `{"proceed": 0}`, `[false]`, `false`, `7`} {
		require.Error(t, json.Unmarshal([]byte(text), new(HookAnswer)), text)
	}
}

func TestTheSpanOfAHook(t *testing.T) {
	hook := Hook{Timeout: Duration(time.Minute), Attempts: 3}
	require.Equal(t, 3*(time.Minute+HookSlack)+3*time.Second, hook.Span())
	hook.Attempts = 1
	require.Equal(t, time.Minute+HookSlack, hook.Span())
}
