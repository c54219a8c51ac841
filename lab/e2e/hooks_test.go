//go:build lab

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

const (
	plantedToken   = "planted-hook-token"
	plantedSigning = "planted-hook-signing-secret"
)

// theirs is a worker of the user's own, on a queue of its own, with an activity and a workflow.
type theirs struct {
	s     *scenario
	queue string
	// say answers a call. It may wait for its context.
	say func(ctx context.Context, in migration.HookInput) (migration.HookAnswer, error)

	mu    sync.Mutex
	calls []migration.HookInput
}

func (s *scenario) theirs(say func(context.Context, migration.HookInput) (migration.HookAnswer, error)) *theirs {
	t := &theirs{s: s, queue: "ours-" + s.name, say: say}
	w := worker.New(s.rig.Client, t.queue, worker.Options{})
	w.RegisterActivityWithOptions(t.call, activity.RegisterOptions{Name: "Theirs"})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, in migration.HookInput) (migration.HookAnswer, error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
		var answer migration.HookAnswer
		return answer, workflow.ExecuteActivity(ctx, "Theirs", in).Get(ctx, &answer)
	}, workflow.RegisterOptions{Name: "TheirWorkflow"})
	require.NoError(s.t, w.Start())
	s.t.Cleanup(w.Stop)
	return t
}

func (t *theirs) call(ctx context.Context, in migration.HookInput) (migration.HookAnswer, error) {
	t.mu.Lock()
	t.calls = append(t.calls, in)
	t.mu.Unlock()
	return t.say(ctx, in)
}

func (t *theirs) moments() []migration.HookMoment {
	t.mu.Lock()
	defer t.mu.Unlock()
	var moments []migration.HookMoment
	for _, in := range t.calls {
		moments = append(moments, in.Moment)
	}
	return moments
}

func (t *theirs) activity(name string) []migration.Hook {
	return []migration.Hook{{Name: name, Activity: migration.HookTask{Type: "Theirs", TaskQueue: t.queue}}}
}

func (t *theirs) workflow(name string) []migration.Hook {
	return []migration.Hook{{Name: name, Workflow: migration.HookTask{Type: "TheirWorkflow", TaskQueue: t.queue}}}
}

// knowingWorker starts a worker of snapferry that knows more secrets, as in NAME=value.
func (s *scenario) knowingWorker(secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, err := s.lab.Run(fmt.Sprintf("worker-%s-%d", s.name, len(s.workers)+1), []string{s.rig.WorkerPath},
		append(secrets, "TEMPORAL_ADDRESS="+s.rig.Temporal.Address)...)
	require.NoError(s.t, err)
	s.workers = append(s.workers, w)
}

// historyOf is what stands in a workflow's history, also in its payloads.
func (s *scenario) historyOf(id string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "history.json")
	require.NoError(s.t, s.rig.History(s.ctx, id, path))
	text, err := os.ReadFile(path)
	require.NoError(s.t, err)
	return decoded(string(text))
}

// sourceBlocked asks the source itself whether our block is on the index.
func (s *scenario) sourceBlocked() bool {
	var settings map[string]struct {
		Settings map[string]any `json:"settings"`
	}
	require.NoError(s.t, s.lab.Source.Direct().Do(context.WithoutCancel(s.ctx), http.MethodGet,
		"/"+s.index+"/_settings?flat_settings=true", nil, &settings))
	return settings[s.index].Settings["index.blocks.write"] == "true"
}

func (s *scenario) firstRound() {
	s.start()
	s.await(func(status migration.Status) bool { return status.RoundsEnded >= 1 })
}

// A migration with hooks of all kinds: an activity and a workflow on another task queue, and a
// signed call. Each is called when the clusters are as it expects them, and no secret is left
// anywhere.
func TestHooksOfAllKinds(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "hooks", 500)
	s.noRoundBesides()
	blocked := map[migration.HookMoment]bool{}
	ours := s.theirs(func(_ context.Context, in migration.HookInput) (migration.HookAnswer, error) {
		blocked[in.Moment] = s.sourceBlocked()
		if in.Moment == migration.HookBeforeBlock {
			return migration.HookAnswer{Message: "stopped"}, s.writer.Stop()
		}
		return migration.HookAnswer{}, nil
	})
	var got []http.Header
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header)
		if len(got) == 1 {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintf(rw, `{"message": "thanks for %s"}`, r.Header.Get("Authorization"))
	}))
	t.Cleanup(receiver.Close)
	s.plan.Hooks = migration.Hooks{
		BeforeBlock: ours.activity("stop"), AfterBlock: ours.workflow("drain"),
		BeforeHandover: []migration.Hook{{Name: "ready", HTTP: migration.HookHTTP{
			URL: receiver.URL, SigningSecret: "env:SNAPFERRY_SECRET_HOOK_SIGNING",
			Headers: map[string]string{"Authorization": "env:SNAPFERRY_SECRET_HOOK_TOKEN"},
		}}},
		AfterHandover: ours.workflow("dns"), AfterThaw: ours.activity("start"),
	}
	s.knowingWorker("SNAPFERRY_SECRET_HOOK_TOKEN="+plantedToken, "SNAPFERRY_SECRET_HOOK_SIGNING="+plantedSigning)
	s.write()
	s.firstRound()
	report := s.finish()

	require.Equal(t, []migration.HookMoment{
		migration.HookBeforeBlock, migration.HookAfterBlock, migration.HookAfterHandover,
	}, ours.moments())
	require.Equal(t, map[migration.HookMoment]bool{
		migration.HookBeforeBlock: false, migration.HookAfterBlock: true, migration.HookAfterHandover: true,
	}, blocked)
	require.Zero(t, s.writer.Stats().Refused, "the hook stopped the writer before the block")
	require.Len(t, got, 2, "503 is tried again")
	require.Equal(t, got[0].Get("Idempotency-Key"), got[1].Get("Idempotency-Key"))
	require.True(t, strings.HasPrefix(got[1].Get("Snapferry-Signature"), "v1="))
	require.Len(t, report.Hooks, 4)
	for _, made := range report.Hooks {
		require.Equal(t, migration.HookDone, made.Outcome, made.Sentence())
	}
	require.GreaterOrEqual(t, report.FrozenWindow.DownMillis, report.FrozenWindow.BlockedMillis)

	for _, id := range []string{s.id, migration.GuardID(s.name)} {
		said := s.historyOf(id)
		if id == s.id {
			require.Contains(t, said, "thanks for [redacted]", "or nothing was looked at")
		}
		for _, secret := range []string{plantedToken, plantedSigning} {
			require.NotContains(t, said, secret)
		}
	}
	out, err := s.rig.Starter(s.ctx, "report", s.name)
	require.NoError(t, err)
	require.Contains(t, out.Stdout, "the hook ready (beforeHandover) let it go on: thanks for [redacted]")
	require.NotContains(t, out.Stdout+out.Stderr, "planted-")
	s.exportAs(migration.GuardID(s.name), "guard-hooks")
}

// A veto before the block leaves the source as it is: no block at any moment, no write refused.
func TestAVetoBeforeTheBlockLeavesTheSourceUntouched(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "hookveto", 200)
	no := false
	ours := s.theirs(func(_ context.Context, in migration.HookInput) (migration.HookAnswer, error) {
		if in.Moment == migration.HookAfterThaw {
			return migration.HookAnswer{}, nil
		}
		return migration.HookAnswer{Proceed: &no, Reason: "the nightly import runs"}, nil
	})
	s.plan.Hooks = migration.Hooks{BeforeBlock: ours.workflow("stop"), AfterThaw: ours.activity("start")}
	s.worker()
	s.write()
	s.firstRound()
	s.signal(migration.RequestFreeze)
	status := s.await(func(status migration.Status) bool {
		return status.Phase == migration.PhaseRounds && len(status.Hooks) == 2
	})
	require.Nil(t, status.Attention)
	require.Contains(t, strings.Join(status.Warnings, "|"),
		"the freeze ended before writes were blocked: the hook stop (beforeBlock) refused: the nightly import runs")
	require.Equal(t, []migration.HookMoment{migration.HookBeforeBlock, migration.HookAfterThaw}, ours.moments())
	require.True(t, status.Hooks[1].Guard)
	require.False(t, s.sourceBlocked())
	s.awaitWrites(s.writer.Stats().Acknowledged + 20) // rounds go on, and so does the writer
	require.Zero(t, s.writer.Stats().Refused)
	s.targetRefuses()
}

// A hook that hangs inside the window never keeps the source blocked: the window ends, and says why.
func TestAHookThatHangsEndsInAThaw(t *testing.T) {
	t.Parallel()
	for _, moment := range []migration.HookMoment{migration.HookAfterBlock, migration.HookBeforeHandover} {
		t.Run(string(moment), func(t *testing.T) {
			t.Parallel()
			doubling(t, "hookhang"+strings.ToLower(string(moment)), time.Minute,
				func(t *testing.T, name string, limit time.Duration) bool { return hookHangs(t, name, moment, limit) })
		})
	}
}

// hookHangs tells whether the hook was called within the window.
func hookHangs(t *testing.T, name string, moment migration.HookMoment, limit time.Duration) bool {
	s := newScenario(t, labs.take(t, usual), name, 200)
	s.noRoundBesides()
	s.plan.Freeze.MaxDuration = migration.Duration(limit)
	hanging := make(chan struct{})
	var once sync.Once
	ours := s.theirs(func(ctx context.Context, in migration.HookInput) (migration.HookAnswer, error) {
		if in.Moment == moment {
			once.Do(func() { close(hanging) })
			<-ctx.Done()
		}
		return migration.HookAnswer{}, ctx.Err()
	})
	hangs := ours.activity("hangs")
	hangs[0].Timeout, hangs[0].Attempts = migration.Duration(limit-time.Second), migration.MaxHookAttempts
	s.plan.Hooks.AfterThaw = ours.activity("start")
	if moment == migration.HookAfterBlock {
		s.plan.Hooks.AfterBlock = hangs
	} else {
		s.plan.Hooks.BeforeHandover = hangs
	}
	s.worker()
	s.firstRound()
	s.signal(migration.RequestFreeze)
	if moment == migration.HookBeforeHandover {
		status := s.await(func(status migration.Status) bool {
			return status.Phase == migration.PhaseAwaitCutover || windowIsOver(status)
		})
		if windowIsOver(status) {
			return false
		}
		s.signal(migration.RequestCutover)
	}
	status := s.await(func(status migration.Status) bool {
		select {
		case <-hanging:
			return status.FrozenUntilMillis > 0 || windowIsOver(status)
		default:
			return windowIsOver(status)
		}
	})
	if windowIsOver(status) {
		return false
	}
	s.writableSoon(time.UnixMilli(status.FrozenUntilMillis))
	require.False(t, s.sourceBlocked())
	after := s.await(func(status migration.Status) bool {
		return status.Phase == migration.PhaseRounds && slices.Contains(ours.moments(), migration.HookAfterThaw)
	})
	require.Contains(t, strings.Join(after.Warnings, "|"), "the hook hangs ("+string(moment)+
		") had not answered when the window ended")
	return true
}

// A hook on a task queue that nobody serves: the window ends at its deadline, and the warning names the
// queue.
func TestAHookThatNobodyServesEndsInAThaw(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "hooknobody", 200)
	s.noRoundBesides()
	s.plan.Freeze.MaxDuration = migration.Duration(time.Minute)
	s.plan.Hooks.AfterBlock = []migration.Hook{{
		Name: "drain", Activity: migration.HookTask{Type: "Theirs", TaskQueue: "nobody-serves-this"},
		Timeout: migration.Duration(59 * time.Second), Attempts: migration.MaxHookAttempts,
	}}
	s.worker()
	s.write()
	s.firstRound()
	s.signal(migration.RequestFreeze)
	status := s.await(func(status migration.Status) bool {
		return status.FrozenUntilMillis > 0 && status.Step == "call the hook drain"
	})
	require.True(t, s.sourceBlocked())
	require.NoError(t, s.writer.Stop()) // it has what it was refused
	s.writableSoon(time.UnixMilli(status.FrozenUntilMillis))
	require.False(t, s.sourceBlocked())
	require.False(t, time.Now().Before(time.UnixMilli(status.FrozenUntilMillis)), "nothing else ended the window")
	after := s.await(func(status migration.Status) bool {
		return status.Phase == migration.PhaseRounds && len(status.Warnings) > 0
	})
	require.Contains(t, strings.Join(after.Warnings, "|"), "the hook drain (afterBlock) had not answered when the "+
		"window ended: activity Theirs on task queue nobody-serves-this")
	require.Nil(t, after.Attention)
	s.signal(migration.RequestRound) // the migration goes on
	s.await(func(status migration.Status) bool { return status.RoundsEnded > after.RoundsEnded })
}

// The migration is gone once the cutover has begun: the guard hands over, and then has the service
// switched over.
func TestTheGuardCallsTheHookAfterTheHandover(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "hookover", 200)
	switched := make(chan error, 1)
	ours := s.theirs(func(_ context.Context, in migration.HookInput) (migration.HookAnswer, error) {
		if in.Moment == migration.HookAfterHandover {
			switched <- s.put(s.lab.Target.Direct())
		}
		return migration.HookAnswer{Message: "switched"}, nil
	})
	s.plan.Hooks = migration.Hooks{AfterHandover: ours.activity("dns"), AfterThaw: ours.activity("start")}
	s.waiting()
	fault := targetFaults(s).HoldNext(lab.Requests(http.MethodPut, "/"+s.name+"/_settings"))
	s.signal(migration.RequestCutover)
	s.awaitHeld(fault)
	s.temporal("workflow", "terminate", "--workflow-id", s.id, "--reason", "a test")
	fault.Release()
	select {
	case err := <-switched:
		require.NoError(t, err, "the target takes writes when the service is switched over")
	case <-time.After(lab.Patience):
		t.Fatal("nobody has switched the service over")
	}
	s.handedOverSoon(time.Now())
	require.True(t, s.sourceBlocked())
	var status migration.GuardStatus
	require.Eventually(t, func() bool {
		value, err := s.rig.Client.QueryWorkflow(s.ctx, migration.GuardID(s.name), "", migration.QueryStatus)
		return err == nil && value.Get(&status) == nil && len(status.Hooks) == 1
	}, lab.Patience, 200*time.Millisecond)
	require.Equal(t, migration.HookAfterHandover, status.Hooks[0].Moment)
	require.Equal(t, migration.HookDone, status.Hooks[0].Outcome)
	require.Equal(t, "switched", status.Hooks[0].Message)
	require.Equal(t, []migration.HookMoment{migration.HookAfterHandover}, ours.moments(),
		"once, and no writer is started")
}

// The migration is gone: the guard removes the block, and has the writers started again.
func TestTheGuardStartsTheWritersOfATerminatedMigration(t *testing.T) {
	t.Parallel()
	s := newScenario(t, labs.take(t, usual), "hookdead", 200)
	blocked := map[migration.HookMoment]bool{}
	started := make(chan migration.HookInput, 1)
	ours := s.theirs(func(_ context.Context, in migration.HookInput) (migration.HookAnswer, error) {
		blocked[in.Moment] = s.sourceBlocked()
		if in.Moment == migration.HookAfterThaw {
			started <- in
		}
		return migration.HookAnswer{}, nil
	})
	s.plan.Hooks = migration.Hooks{BeforeBlock: ours.activity("stop"), AfterThaw: ours.workflow("start")}
	s.waiting()
	s.temporal("workflow", "terminate", "--workflow-id", s.id, "--reason", "a test")
	select {
	case in := <-started:
		require.Contains(t, in.Reason, "Terminated")
		require.Equal(t, []string{s.index}, in.Indices)
	case <-time.After(lab.Patience):
		t.Fatal("nobody has started the writers")
	}
	require.Equal(t, map[migration.HookMoment]bool{
		migration.HookBeforeBlock: false, migration.HookAfterThaw: false,
	}, blocked)
	s.writableSoon(time.Now())
	require.Eventually(t, func() bool {
		value, err := s.rig.Client.QueryWorkflow(s.ctx, migration.GuardID(s.name), "", migration.QueryStatus)
		var status migration.GuardStatus
		return err == nil && value.Get(&status) == nil && !status.HooksDue && len(status.Hooks) == 1
	}, lab.Patience, 200*time.Millisecond)
	s.exportAs(migration.GuardID(s.name), "guard-hooks-terminated")
}
