package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	longEnough = Patience
	pollEvery  = 5 * time.Millisecond
)

// helperDir makes the test binary a parent that waits to be killed: see
// TestChildrenEndWithAKilledParent.
const helperDir = "LAB_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		beHelper(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// helperChildren is what a helper starts.
var helperChildren = func(dir string) ([]*Process, error) {
	p, err := startProcess(processSpec{
		name: "child", path: "/bin/sleep", args: []string{"1000"}, env: plainEnv(),
		dir: dir,
	})
	return []*Process{p}, err
}

// beHelper starts children, says how many and their pids, and waits for the end.
func beHelper(dir string) {
	children, err := helperChildren(dir)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(len(children))
	for _, p := range children {
		fmt.Println(p.PID)
	}
	<-children[0].Done()
}

// killParent runs a helper, kills it (SIGKILL) when its children are up and waits until they are
// gone. It returns how many there were.
func killParent(t *testing.T, env ...string) int {
	t.Helper()
	parent := exec.Command(os.Args[0])
	parent.Env = append(append(os.Environ(), helperDir+"="+t.TempDir()), env...)
	output, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	var count int
	_, err = fmt.Fscan(output, &count)
	require.NoError(t, err)
	children := make([]int, count)
	for i := range children {
		_, err = fmt.Fscan(output, &children[i])
		require.NoError(t, err)
		require.False(t, gone(children[i]))
	}
	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	for _, child := range children {
		require.Eventually(t, func() bool { return gone(child) }, longEnough, pollEvery)
	}
	return count
}

// shell runs a script that ends when it is asked to, however long that takes.
func shell(t *testing.T, script string) *Process { return shellWithin(t, longEnough, script) }

func shellWithin(t *testing.T, grace time.Duration, script string) *Process {
	t.Helper()
	p, err := startProcess(processSpec{
		name: "child", path: "/bin/sh", args: []string{"-c", script}, env: plainEnv(), dir: t.TempDir(), grace: grace,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func logged(t *testing.T, p *Process, text string) {
	t.Helper()
	require.NoError(t, p.await(t.Context(), longEnough, func(context.Context) error {
		if p.log() != text {
			return errors.New("not yet")
		}
		return nil
	}))
}

// gone says whether a process has ended, its parent having noticed or not.
func gone(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}

func TestReadinessIsAwaited(t *testing.T) {
	p := shell(t, "echo one; echo two >&2; exec cat")
	logged(t, p, "one\ntwo\n")
	require.NoError(t, p.Stop())
	assert.NoFileExists(t, p.pidPath)
}

func TestAProcessThatEndsEarlyShowsItsLog(t *testing.T) {
	p := shell(t, "echo no such database; exit 3")
	err := p.await(t.Context(), longEnough, func(context.Context) error { return errors.New("not yet") })
	assert.ErrorContains(t, err, "ended before it was ready (exit status 3)")
	assert.ErrorContains(t, err, "no such database")
	assert.ErrorContains(t, err, p.LogPath)
}

func TestAProcessThatDoesNotGetReadyShowsWhatItLacks(t *testing.T) {
	p := shell(t, "echo thinking; exec cat")
	err := p.await(t.Context(), 20*time.Millisecond, func(context.Context) error { return errors.New("port closed") })
	assert.ErrorContains(t, err, "port closed")
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestStopEndsAtEndOfFile(t *testing.T) {
	p := shell(t, "trap '' TERM; echo up; cat; echo ended")
	logged(t, p, "up\n")
	require.NoError(t, p.Stop())
	assert.Equal(t, "up\nended\n", p.log())
	require.NoError(t, p.Stop(), "twice is fine")
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	p := shellWithin(t, time.Millisecond, "trap '' TERM; echo up; while :; do sleep 0.05; done")
	logged(t, p, "up\n")
	require.NoError(t, p.Stop())
	assert.ErrorContains(t, p.Err(), "signal: killed")
}

func TestAnEarlierRunsLogIsNotMistakenForThisOnes(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		p, err := startProcess(processSpec{
			name: "child", path: "/bin/echo", args: []string{"READY"}, env: plainEnv(),
			dir: dir,
		})
		require.NoError(t, err)
		<-p.Done()
		assert.Equal(t, "READY\n", p.log())
	}
}

func TestAChildOutlivesTheThreadsOfItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with a thread")
	}
	p := shell(t, "exec cat")
	threads := make(chan int, 20)
	for range cap(threads) {
		go func() { // a goroutine that ends while locked takes its thread along
			runtime.LockOSThread()
			threads <- syscall.Gettid()
		}()
	}
	for range cap(threads) {
		thread := <-threads
		if thread == os.Getpid() { // Go keeps the first thread
			continue
		}
		require.Eventually(t, func() bool { return gone(thread) }, longEnough, pollEvery)
	}
	// A process that the kernel has sent SIGKILL answers nothing any more.
	_, err := p.stdin.(io.Writer).Write([]byte("still here\n"))
	require.NoError(t, err)
	logged(t, p, "still here\n")
}

func TestChildrenEndWithAKilledParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child like sleep with its parent: see the package comment")
	}
	assert.Equal(t, 1, killParent(t))
}

func TestAPortThatIsTakenIsReplaced(t *testing.T) {
	port, tries := 0, 0
	s := &server{
		name: "child", ports: []*int{&port},
		spec: func() processSpec {
			tries++
			script := "exec cat"
			if tries == 1 {
				script = "echo listen tcp: address already in use; exit 1"
			}
			return processSpec{
				name: "child", path: "/bin/sh", args: []string{"-c", script}, env: plainEnv(),
				dir: t.TempDir(),
			}
		},
	}
	s.ready = func(context.Context, *Process) error {
		if tries == 1 {
			return errors.New("no answer")
		}
		return nil
	}
	require.NoError(t, s.start(t.Context()))
	assert.Equal(t, 2, tries)
	first := port
	assert.ErrorContains(t, s.start(t.Context()), "already running")
	require.NoError(t, s.kill())
	require.NoError(t, s.start(t.Context()))
	assert.Equal(t, first, port, "a restart keeps the port")
	require.NoError(t, s.stop())
}
