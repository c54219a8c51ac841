package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// The versions of the procedure that this tool replaces.
const (
	SourceVersion = "5.5.2"
	TargetVersion = "5.5.3"
)

// EnsureTools builds what the lab runs into .lab at the root of the repository, each part only when
// it is missing or when what it is made of has changed: the temporal CLI and versitygw as pinned in
// tools/go.mod, and the two Elasticsearch nodes from lab/elasticsearch. Progress goes to out. Two
// processes never build at once: the second waits for the first. The first time takes some minutes.
func EnsureTools(ctx context.Context, out io.Writer) error {
	t, err := newToolbox(out)
	if err != nil {
		return err
	}
	return t.ensure(ctx, t.temporal(), t.versitygw(), t.elasticsearch(SourceVersion), t.elasticsearch(TargetVersion))
}

// toolbox knows where the tools are and how each is built.
type toolbox struct {
	root string // of the repository
	out  io.Writer
	run  func(ctx context.Context, log io.Writer, dir, name string, args ...string) error
}

// tool is one thing that is built and then used until its ingredients change.
type tool struct {
	name        string
	expect      string // how long the first build takes
	path        string // what the build makes
	ingredients []string
	also        string // what else makes a difference: a version, a platform
	check       func(ctx context.Context) error
	build       func(ctx context.Context, log io.Writer) error
}

func newToolbox(out io.Writer) (*toolbox, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	if out == nil {
		out = io.Discard
	}
	return &toolbox{root: root, out: out, run: runBuild}, nil
}

// Root is the folder of the repository: the nearest one above the working directory whose go.mod is
// this module's.
func Root() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("the lab can't find its repository: %w", err)
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && slices.Contains(strings.Split(string(mod), "\n"), "module github.com/snapferry/snapferry") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("the lab builds its tools from snapferry's repository: no go.mod of "+
				"github.com/snapferry/snapferry in or above %s; run it from a clone", wd)
		}
	}
}

func (t *toolbox) lab(path ...string) string {
	return filepath.Join(append([]string{t.root, ".lab"}, path...)...)
}

func (t *toolbox) temporal() tool {
	return t.goTool("temporal", "github.com/temporalio/cli/cmd/temporal", "3 to 5 minutes")
}

func (t *toolbox) versitygw() tool {
	return t.goTool("versitygw", "github.com/versity/versitygw/cmd/versitygw", "1 to 2 minutes")
}

func (t *toolbox) goTool(name, pkg, expect string) tool {
	tools, path := filepath.Join(t.root, "tools"), t.lab("bin", name)
	return tool{
		name: name, expect: expect, path: path,
		ingredients: []string{filepath.Join(tools, "go.mod"), filepath.Join(tools, "go.sum")},
		also:        pkg + " " + runtime.GOOS + "/" + runtime.GOARCH,
		build: func(ctx context.Context, log io.Writer) error {
			if _, err := exec.LookPath("go"); err != nil {
				return errors.New("no go command on the PATH; install Go 1.26 or later")
			}
			// Built beside and renamed: a running server keeps its file.
			if err := t.run(ctx, log, t.root, "go", "build", "-C", tools, "-o", path+".new", pkg); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	}
}

func (t *toolbox) elasticsearch(version string) tool {
	project, path := filepath.Join(t.root, "lab", "elasticsearch"), t.lab("elasticsearch", version)
	return tool{
		name: "elasticsearch " + version, expect: "about a minute", path: filepath.Join(path, "lib"),
		ingredients: []string{
			filepath.Join(project, "pom.xml"), filepath.Join(project, "src", "main"),
			filepath.Join(project, "src", nodeLine(version)),
		},
		also: version,
		check: func(ctx context.Context) error {
			if _, err := findJava(ctx); err != nil {
				return err
			}
			return checkMaven(ctx)
		},
		build: func(ctx context.Context, log io.Writer) error {
			// jars of an earlier pom would stay on the class path
			if err := os.RemoveAll(filepath.Join(path, "lib")); err != nil {
				return err
			}
			return t.run(ctx, log, t.root, "mvn", "-B", "-ntp", "-DskipTests", "-f", filepath.Join(project, "pom.xml"),
				"-Delasticsearch.version="+version, "-Dlab.output="+path, "package")
		},
	}
}

// nodeLine is the folder below lab/elasticsearch/src that serves a version, as in pom.xml: a change
// to one line leaves the nodes of the others fresh. For a version that has none, the build says so.
func nodeLine(version string) string {
	for line, folder := range map[string]string{
		"2.4.": "es2", "5.5.": "es5", "5.6.": "es5", "6.8.": "es6", "7.10.": "es7",
		"7.17.": "es717", "8.17.": "es8",
	} {
		if strings.HasPrefix(version, line) {
			return folder
		}
	}
	return ""
}

// ensure builds the tools that are missing or out of date, one after another.
func (t *toolbox) ensure(ctx context.Context, tools ...tool) error {
	if err := t.check(ctx, tools); err != nil {
		return err
	}
	stale := func() ([]tool, error) {
		var stale []tool
		for _, tool := range tools {
			fresh, err := t.fresh(tool)
			if err != nil {
				return nil, err
			}
			if !fresh {
				stale = append(stale, tool)
			}
		}
		return stale, nil
	}
	if tools, err := stale(); err != nil || len(tools) == 0 {
		return err
	}
	unlock, err := t.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	todo, err := stale() // another process may have built them while this one waited
	if err != nil {
		return err
	}
	for _, tool := range todo {
		if err := t.make(ctx, tool); err != nil {
			return err
		}
	}
	return nil
}

// checked remembers the tools whose requirements (Java, Maven) this process has found met: asking
// costs half a second.
var checked sync.Map

func (t *toolbox) check(ctx context.Context, tools []tool) error {
	for _, tool := range tools {
		if tool.check == nil {
			continue
		}
		environment := "JAVA_HOME=" + os.Getenv("JAVA_HOME") + " PATH=" + os.Getenv("PATH")
		if _, done := checked.Load(environment); done {
			continue
		}
		if err := tool.check(ctx); err != nil {
			return err
		}
		checked.Store(environment, true)
	}
	return nil
}

func (t *toolbox) stampPath(tool tool) string {
	return t.lab("stamps", strings.ReplaceAll(tool.name, " ", "-"))
}

// fresh says whether the tool is there and was made of what is there now.
func (t *toolbox) fresh(tool tool) (bool, error) {
	want, err := tool.stamp(t.root)
	if err != nil {
		return false, fmt.Errorf("%s can't be built: %w", tool.name, err)
	}
	have, err := os.ReadFile(t.stampPath(tool))
	if errors.Is(err, fs.ErrNotExist) || (err == nil && string(have) != want) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("whether %s is up to date can't be told: %w", tool.name, err)
	}
	_, err = os.Stat(tool.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// stamp is a hash over the names and the content of the ingredients.
func (tool tool) stamp(root string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, tool.name, tool.also)
	for _, ingredient := range tool.ingredients {
		err := filepath.WalkDir(ingredient, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			fmt.Fprintln(sum, filepath.ToSlash(name), len(content))
			sum.Write(content)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (t *toolbox) make(ctx context.Context, tool tool) error {
	stamp, err := tool.stamp(t.root)
	if err != nil {
		return fmt.Errorf("%s can't be built: %w", tool.name, err)
	}
	stampPath := t.stampPath(tool)
	logPath := t.lab("log", "build-"+filepath.Base(stampPath)+".log")
	for _, dir := range []string{filepath.Dir(stampPath), filepath.Dir(logPath), filepath.Dir(tool.path)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("%s can't be built: %w", tool.name, err)
		}
	}
	// a build that breaks off leaves no stamp behind
	if err := os.Remove(stampPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s can't be built: %w", tool.name, err)
	}
	log, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("%s can't be built: %w", tool.name, err)
	}
	defer log.Close()

	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- tool.build(ctx, log) }()
	fmt.Fprintf(t.out, "building %s (first time: %s)\n", tool.name, tool.expect)
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(t.out, "building %s (first time: %s) ... %d s\n", tool.name, tool.expect,
				int(time.Since(began).Seconds()))
		case err := <-done:
			if ctx.Err() != nil {
				return fmt.Errorf("building %s was stopped: %w", tool.name, context.Cause(ctx))
			}
			if err != nil {
				text, _ := os.ReadFile(logPath)
				return fmt.Errorf("building %s failed: %w; the log %s ends:\n%s", tool.name, err, logPath,
					lastLines(string(text), 20))
			}
			if _, err := os.Stat(tool.path); err != nil {
				return fmt.Errorf("building %s made no %s; see %s", tool.name, tool.path, logPath)
			}
			fmt.Fprintf(t.out, "built %s in %d s\n", tool.name, int(time.Since(began).Seconds()))
			return os.WriteFile(stampPath, []byte(stamp), 0o644)
		}
	}
}

// lock waits until no other process builds.
func (t *toolbox) lock(ctx context.Context) (unlock func(), err error) {
	path := t.lab("tools.lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("no lock for building tools: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("no lock for building tools: %w", err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; {
		got, err := tryLock(f)
		switch {
		case err != nil:
			f.Close()
			return nil, fmt.Errorf("no lock on %s: %w", path, err)
		case got:
			return func() { f.Close() }, nil
		case !told:
			fmt.Fprintf(t.out, "another process is building the tools (it holds %s); waiting for it\n", path)
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another process to build the tools: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// runBuild runs a build command and everything it starts as one group, which a cancelled ctx ends.
func runBuild(ctx context.Context, log io.Writer, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if cmd.SysProcAttr = endsWithParent(); cmd.SysProcAttr == nil {
		cmd.SysProcAttr = ownGroup()
	}
	runtime.LockOSThread() // as in startProcess: a killed parent's build must not go on while the next one begins
	defer runtime.UnlockOSThread()
	cmd.Cancel = func() error { return endGroup(cmd.Process) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return nil
}
