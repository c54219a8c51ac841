// Package byhand copies indices with migrate.sh: a shell script which a careful engineer would
// write. The benchmarks compare snapferry with it.
package byhand

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/snapferry/snapferry/lab"
)

//go:embed migrate.sh
var migrateScript []byte

// Unthrottled is a limit of snapshots and restores that is more than the computer can do.
const Unthrottled = "4gb"

// The steps of a final round.
const (
	StepBlock    = "block" // until the source stands still
	StepSnapshot = "snapshot"
	StepCopy     = "copy"
	StepRestore  = "restore" // close, restore, open
	StepVerify   = "verify"
)

// Steps are those of a final round, in their order.
func Steps() []string { return []string{StepBlock, StepSnapshot, StepCopy, StepRestore, StepVerify} }

// Timed is from when to when something ran.
type Timed struct{ Began, Ended time.Time }

// Seconds is how long it ran.
func (t Timed) Seconds() float64 { return t.Ended.Sub(t.Began).Seconds() }

// Script copies rounds with migrate.sh.
type Script struct {
	Lab    *lab.Lab
	Dir    string // for the script itself
	Rclone string // path
	// OSSAsS3 is OSS's face for S3 clients.
	OSSAsS3 string
	// Name is that of the repository, the base path and, before the indices' names, on the target.
	Name string
	// Indices are names, separated by commas, or one pattern. DocType is their mapping type.
	Indices, DocType string
	// Typeless has a source of 6.8 show its mappings as 7.x does.
	Typeless bool

	number int // of the next snapshot
}

func (s *Script) prefix() string { return s.Name + "-" }

// Restored are the names on the target.
func (s *Script) Restored() string {
	return s.prefix() + strings.ReplaceAll(s.Indices, ",", ","+s.prefix())
}

// Register registers the repository on both clusters. An empty rate leaves Elasticsearch's own
// throttles.
func (s *Script) Register(ctx context.Context, rate string) error {
	_, err := s.run(ctx, rate, "register")
	return err
}

// Round takes a snapshot, copies and restores it, while the source is in use.
func (s *Script) Round(ctx context.Context) (map[string]Timed, error) {
	return s.run(ctx, "", "round", s.next())
}

func (s *Script) next() string {
	s.number++
	return fmt.Sprintf("%s-%d", s.Name, s.number)
}

// Final blocks writes, does the same, and compares both sides. It returns its steps and the name of
// the snapshot.
func (s *Script) Final(ctx context.Context) (steps map[string]Timed, snapshot string, err error) {
	snapshot = s.next()
	if steps, err = s.run(ctx, "", "final", snapshot); err != nil {
		return nil, "", err
	}
	for _, name := range Steps() {
		if _, there := steps[name]; !there {
			return nil, "", fmt.Errorf("migrate.sh told nothing of its step %s", name)
		}
	}
	return steps, snapshot, nil
}

// Window is from the block to the end of the comparison, in seconds.
func Window(steps map[string]Timed) float64 {
	return steps[StepVerify].Ended.Sub(steps[StepBlock].Began).Seconds()
}

// run runs migrate.sh and waits for it. All of its processes end with ctx.
func (s *Script) run(ctx context.Context, rate string, arguments ...string) (map[string]Timed, error) {
	path, err := write(s.Dir)
	if err != nil {
		return nil, err
	}
	// Linux means the thread that started the child, when it ends a child with its parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "bash", append([]string{path}, arguments...)...)
	cmd.Env = s.environment(rate)
	cmd.Dir = s.Dir
	cmd.SysProcAttr = ownGroup()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("migrate.sh %s: %w: %s%s", strings.Join(arguments, " "), err, stdout.String(),
			stderr.String())
	}
	return parseSteps(stdout.String())
}

// parseSteps reads the lines "step NAME BEGAN ENDED", in microseconds since 1970.
func parseSteps(text string) (map[string]Timed, error) {
	steps := map[string]Timed{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var name string
		var began, ended int64
		if n, _ := fmt.Sscanf(lines.Text(), "step %s %d %d", &name, &began, &ended); n != 3 || ended < began {
			return nil, fmt.Errorf("migrate.sh said %q, which is no step", lines.Text())
		}
		steps[name] = Timed{Began: time.UnixMicro(began), Ended: time.UnixMicro(ended)}
	}
	return steps, lines.Err()
}

// environment is everything that the script is told. Nothing that this computer has set for other
// purposes reaches it.
func (s *Script) environment(rate string) []string {
	l := s.Lab
	env := map[string]string{
		"LC_ALL": "C", // the point in EPOCHREALTIME is a comma elsewhere
		"SOURCE": l.Source.DirectURL, "TARGET": l.Target.Endpoint,
		"INDICES": s.Indices, "DOCTYPE": s.DocType, "PREFIX": s.prefix(),
		"REPOSITORY": s.Name, "BASE_PATH": s.Name, "S3_BUCKET": l.S3.Bucket, "ROLE_ARN": l.Source.RoleARN,
		"AWS_REGION":  l.Source.Region,
		"TARGET_USER": l.Target.User, "TARGET_PASSWORD": l.Target.Password,
		"OSS_BUCKET": l.OSS.Bucket, "OSS_ENDPOINT": l.OSS.Endpoint,
		"OSS_ACCESS_KEY_ID": l.OSS.ClusterKey.ID, "OSS_ACCESS_KEY_SECRET": l.OSS.ClusterKey.Secret,
		"SNAPSHOT_RATE": rate, "RESTORE_RATE": rate,
		"RCLONE": s.Rclone, "RCLONE_CONFIG": os.DevNull, "RCLONE_S3_NO_CHECK_BUCKET": "true",
	}
	for remote, at := range map[string]struct{ endpoint, region, id, secret string }{
		"S3":  {l.S3.Endpoint, l.S3.Region, l.S3.AccessKey, l.S3.SecretKey},
		"OSS": {s.OSSAsS3, l.OSS.Region, l.OSS.CopierKey.ID, l.OSS.CopierKey.Secret},
	} {
		for name, value := range map[string]string{
			"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": at.endpoint, "FORCE_PATH_STYLE": "true", "REGION": at.region,
			"ACCESS_KEY_ID": at.id, "SECRET_ACCESS_KEY": at.secret,
		} {
			env["RCLONE_CONFIG_"+remote+"_"+name] = value
		}
	}
	if s.Typeless {
		env["SOURCE_META"] = "?include_type_name=false"
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	var all []string
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	return all
}

// write puts the script where bash finds it: a benchmark's program knows no other place of it.
func write(dir string) (string, error) {
	path := filepath.Join(dir, "migrate.sh")
	return path, os.WriteFile(path, migrateScript, 0o755)
}
