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
	"time"
)

// Process is a running child of this one. It ends with its parent; the package comment says how.
type Process struct {
	Name    string
	LogPath string // standard output and error, appended
	PID     int

	cmd      *exec.Cmd
	stdin    io.Closer
	pidPath  string
	logStart int64         // where this run's lines begin in the log
	grace    time.Duration // from SIGTERM to SIGKILL
	done     chan struct{}
	err      error // why it ended; read it only after done is closed
}

type processSpec struct {
	name  string
	path  string
	args  []string
	env   []string // the complete environment
	dir   string   // holds <name>.log and <name>.pid, and is the working directory
	grace time.Duration
}

func startProcess(spec processSpec) (*Process, error) {
	if err := os.MkdirAll(spec.dir, 0o755); err != nil {
		return nil, fmt.Errorf("no folder for %s: %w", spec.name, err)
	}
	logPath := filepath.Join(spec.dir, spec.name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("no log for %s: %w", spec.name, err)
	}
	defer log.Close() // the child has its own descriptor
	info, err := log.Stat()
	if err != nil {
		return nil, fmt.Errorf("no log for %s: %w", spec.name, err)
	}

	cmd := exec.Command(spec.path, spec.args...)
	cmd.Dir, cmd.Env = spec.dir, spec.env
	cmd.Stdout, cmd.Stderr = log, log // a file, not a pipe: no copying, and Wait waits for nobody's grandchildren
	cmd.SysProcAttr = endsWithParent()
	stdin, err := cmd.StdinPipe() // stays open as long as we live: the Java launcher ends at its end of file
	if err != nil {
		return nil, fmt.Errorf("no standard input for %s: %w", spec.name, err)
	}

	p := &Process{
		Name: spec.name, LogPath: logPath, cmd: cmd, stdin: stdin, done: make(chan struct{}),
		pidPath: filepath.Join(spec.dir, spec.name+".pid"), logStart: info.Size(), grace: spec.grace,
	}
	if p.grace == 0 {
		p.grace = 10 * time.Second
	}
	started := make(chan error)
	go func() {
		// Linux sends the parent-death signal when the thread ends that made the child, and Go ends
		// idle threads as it likes.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		stdin.Close()
		return nil, fmt.Errorf("%s did not start: %w", spec.name, err)
	}
	p.PID = cmd.Process.Pid
	if err := os.WriteFile(p.pidPath, []byte(strconv.Itoa(p.PID)+"\n"), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("no pid file for %s: %w", spec.name, err), p.Kill())
	}
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended: nil while it runs and after exit status 0.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Signal sends a signal to the process. It is no error if that has ended.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("no signal %v to %s (pid %d): %w", s, p.Name, p.PID, err)
	}
	return nil
}

// Kill ends the process at once (SIGKILL) and returns when it is gone.
func (p *Process) Kill() error {
	err := p.Signal(os.Kill)
	if err == nil {
		<-p.done
		os.Remove(p.pidPath)
	}
	return err
}

// Stop ends the process: end of file and SIGTERM, then SIGKILL after its grace. It returns when the
// process is gone. Stopping twice is fine.
func (p *Process) Stop() error {
	p.stdin.Close()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return p.Kill() // no SIGTERM on this system
	}
	grace := time.NewTimer(p.grace)
	defer grace.Stop()
	select {
	case <-p.done:
		os.Remove(p.pidPath)
		return nil
	case <-grace.C:
		return p.Kill()
	}
}

// log is what this run of the process has written so far.
func (p *Process) log() string {
	f, err := os.Open(p.LogPath)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(p.logStart, io.SeekStart); err != nil {
		return ""
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// await polls check until it returns nil. It gives up when the process ends, the limit passes or
// ctx is done, and then shows the end of the log.
func (p *Process) await(ctx context.Context, limit time.Duration, check func(context.Context) error) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := check(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%s); its log %s ends:\n%s", p.Name, p.cmd.ProcessState,
				p.LogPath, lastLines(p.log(), 20))
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready after %s: %w (%w); its log %s ends:\n%s",
				p.Name, time.Since(began).Round(100*time.Millisecond), last, ctx.Err(), p.LogPath,
				lastLines(p.log(), 20))
		case <-tick.C:
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

// plainEnv is the environment of a server: what programs need to run at all and what is given, so
// that settings made for other purposes (TEMPORAL_*, AWS_*, VGW_*, JAVA_TOOL_OPTIONS) don't reach
// it.
func plainEnv(more ...string) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TMPDIR", "SYSTEMROOT"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}
