package rig

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/snapferry/snapferry/lab"
)

// Clock is the clock of workers that ClockedWorker has started. It may be set while they run, as it
// happens to a computer: only the time of day changes, timers don't.
type Clock struct{ path string }

// clockVariable names the file to the worker's package time.
const clockVariable = "SNAPFERRY_LAB_CLOCK"

// NewClock makes a clock that is right, in a folder.
func NewClock(dir, name string) (Clock, error) {
	c := Clock{filepath.Join(dir, name+".clock")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return c, err
	}
	return c, os.WriteFile(c.path, make([]byte, 8), 0o644)
}

// Set puts the clock ahead of the computer's, by whole seconds.
func (c Clock) Set(ahead time.Duration) error {
	file, err := os.OpenFile(c.path, os.O_WRONLY, 0) // it keeps its length: workers have it in their memory
	if err != nil {
		return err
	}
	_, err = file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead/time.Second)), 0)
	if closing := file.Close(); err == nil {
		err = closing
	}
	return err
}

// ClockedWorker starts a worker as Worker does, whose clock is this one.
func (r *Rig) ClockedWorker(clock Clock, name string, arguments ...string) (*lab.Process, error) {
	path := filepath.Join(filepath.Dir(r.WorkerPath), clockedName)
	return r.Lab.Run(name, append([]string{path}, arguments...), "TEMPORAL_ADDRESS="+r.Temporal.Address,
		clockVariable+"="+clock.path)
}

const clockedName = "clocked-worker"

// BuildClocked builds the worker for ClockedWorker, beside the usual one. All of its source is the
// same, but for Go's own package time: every library in the worker, such as those that sign, sees
// the clock. The first time takes minutes, since everything imports that package.
func (r *Rig) BuildClocked(ctx context.Context) error {
	bin := filepath.Dir(r.WorkerPath)
	overlay, err := clockedTime(ctx, bin)
	if err != nil {
		return fmt.Errorf("no package time with a clock that can be set: %w", err)
	}
	root, err := lab.Root()
	if err != nil {
		return err
	}
	path := filepath.Join(bin, clockedName)
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", path, "./worker")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("the worker with a clock that can be set can't be built: %w\n%s", err, out)
	}
	return nil
}

// What is put into Now of package time, and the file beside it.
const (
	nowAsItIs = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	addition  = "\tsec += *labSeconds\n"
	labFile   = `package time

import (
	"syscall"
	"unsafe"
)

// labSeconds is by how much the clock is ahead of the computer's. It lies in a file that the lab
// writes.
var labSeconds = func() *int64 {
	path, _ := syscall.Getenv("` + clockVariable + `")
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("` + clockVariable + `: " + err.Error())
	}
	memory, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("` + clockVariable + `: " + err.Error())
	}
	_ = syscall.Close(fd)
	return (*int64)(unsafe.Pointer(&memory[0]))
}()
`
)

// clockedTime writes such a package, and returns the file that has go build use it.
func clockedTime(ctx context.Context, dir string) (overlay string, err error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	standard := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(standard, "time.go"))
	if err != nil {
		return "", err
	}
	changed := strings.Replace(string(source), nowAsItIs, nowAsItIs+addition, 1)
	if changed == string(source) {
		return "", fmt.Errorf("%s/time.go reads the clock in another way than Go 1.26: adapt nowAsItIs", standard)
	}
	dir = filepath.Join(dir, "clocked")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, text := range map[string]string{"time.go": changed, "lab.go": labFile} {
		replace[filepath.Join(standard, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o644)
}
