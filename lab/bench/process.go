package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child that is measured. It ends with this process.
type process struct {
	cmd  *exec.Cmd
	log  string // path
	done chan struct{}
	err  error // how it ended, after done

	mu   sync.Mutex
	last usage // as far as it could be read
}

// sampling is how often a process is looked at; a peak that is read is the highest so far.
const sampling = 20 * time.Millisecond

// start runs a program with exactly this environment, and measures it. What it prints goes to the file
// logPath.
func start(logPath string, environment []string, path string, arguments ...string) (*process, error) {
	p, err := launch(logPath, environment, path, arguments...)
	if err == nil {
		go p.sample()
	}
	return p, err
}

// launch is start for what isn't measured.
func launch(logPath string, environment []string, path string, arguments ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	p := &process{cmd: exec.Command(path, arguments...), log: logPath, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = environment, log, log, endsWithParent()
	started := make(chan error)
	go func() {
		// Linux means the thread that made the child, when it ends a child with its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s can't be started: %w", path, err)
	}
	return p, nil
}

func (p *process) sample() {
	tick := time.NewTicker(sampling)
	defer tick.Stop()
	for {
		p.look()
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
	}
}

// look reads what the process has taken so far; once it has ended, what it had.
func (p *process) look() usage {
	u, err := usageOf(p.cmd.Process.Pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && u.peak > 0 { // one that has just ended has no memory any more
		p.last = u
	}
	return p.last
}

// total is what an ended process took: the CPU time as the kernel accounts it, the peak as last
// read.
func (p *process) total() usage {
	<-p.done
	u := p.look()
	u.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	return u
}

// wait waits for the end of the process; a ctx that ends first ends it.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.kill()
		return context.Cause(ctx)
	}
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// stop asks the process to end, and ends it if it doesn't soon.
func (p *process) stop() {
	const grace = 15 * time.Second
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	p.kill()
}

// awaitFile waits until the process has made a file, which says that it is ready, and returns what
// is in it.
func (p *process) awaitFile(ctx context.Context, path string) ([]byte, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		data, err := os.ReadFile(path)
		if err == nil {
			return data, os.Remove(path)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-p.done:
			return nil, fmt.Errorf("%s ended before it was ready: %w; it said: %s", p.cmd.Args[1], p.err, p.tail())
		case <-tick.C:
		}
	}
}

// tail is the end of what the process has printed.
func (p *process) tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	const most = 2000
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(f)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}

// environment is what programs need to run at all, and what is given: settings that this computer
// has for other purposes (AWS_*, RCLONE_*, TEMPORAL_*, proxies, GOGC) reach none of them.
func environment(more ...string) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, more...)
}
