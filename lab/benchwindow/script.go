package main

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
)

//go:embed migrate.sh
var migrateScript []byte

// The limits of the script without throttles: more than the computer can do.
const unthrottled = "4gb"

// script copies rounds with migrate.sh.
type script struct {
	b      *bench
	name   string // of the repository, the base path and, before the indices' names, on the target
	raised bool   // the throttles, before the window
	stock  *stock
	number int // of the next snapshot
}

func (s *script) prefix() string { return s.name + "-" }

// restored are the names on the target.
func (s *script) restored() string {
	return s.prefix() + strings.ReplaceAll(s.stock.names(), ",", ","+s.prefix())
}

// start registers the repositories and copies the baseline, without throttles: what comes before
// the window isn't compared.
func (s *script) start(ctx context.Context) error {
	if _, err := s.run(ctx, unthrottled, "register"); err != nil {
		return err
	}
	return s.round(ctx)
}

func (s *script) round(ctx context.Context) error {
	_, err := s.run(ctx, "", "round", s.next())
	return err
}

// ready sets the limits that hold in the window.
func (s *script) ready(ctx context.Context) error {
	rate := ""
	if s.raised {
		rate = unthrottled
	}
	_, err := s.run(ctx, rate, "register")
	return err
}

func (s *script) next() string {
	s.number++
	return fmt.Sprintf("%s-%d", s.name, s.number)
}

func (s *script) final(ctx context.Context) (run, error) {
	snapshot := s.next()
	steps, err := s.run(ctx, "", "final", snapshot)
	if err != nil {
		return run{}, err
	}
	one := run{steps: map[string]float64{}}
	for _, name := range stepNames {
		took, there := steps[name]
		if !there {
			return run{}, fmt.Errorf("migrate.sh told nothing of its step %s", name)
		}
		one.steps[name] = took.seconds()
	}
	one.window = steps[stepVerify].ended.Sub(steps[stepBlock].began).Seconds()
	one.own, err = ownTime(ctx, s.b.lab, s.name, snapshot, s.restored())
	return one, err
}

// run runs migrate.sh and waits for it. All of its processes end with ctx.
func (s *script) run(ctx context.Context, rate string, arguments ...string) (map[string]timed, error) {
	// Linux means the thread that started the child, when it ends a child with its parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "bash", append([]string{s.b.scriptPath}, arguments...)...)
	cmd.Env = s.environment(rate)
	cmd.Dir = s.b.dir
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
func parseSteps(text string) (map[string]timed, error) {
	steps := map[string]timed{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var name string
		var began, ended int64
		if n, _ := fmt.Sscanf(lines.Text(), "step %s %d %d", &name, &began, &ended); n != 3 || ended < began {
			return nil, fmt.Errorf("migrate.sh said %q, which is no step", lines.Text())
		}
		steps[name] = timed{began: time.UnixMicro(began), ended: time.UnixMicro(ended)}
	}
	return steps, lines.Err()
}

// environment is everything that the script is told. Nothing that this computer has set for other
// purposes reaches it.
func (s *script) environment(rate string) []string {
	l := s.b.lab
	env := map[string]string{
		"LC_ALL": "C", // the point in EPOCHREALTIME is a comma elsewhere
		"SOURCE": l.Source.DirectURL, "TARGET": l.Target.Endpoint,
		"INDICES": s.stock.names(), "DOCTYPE": docType, "PREFIX": s.prefix(),
		"REPOSITORY": s.name, "BASE_PATH": s.name, "S3_BUCKET": l.S3.Bucket, "ROLE_ARN": l.Source.RoleARN,
		"AWS_REGION":  l.Source.Region,
		"TARGET_USER": l.Target.User, "TARGET_PASSWORD": l.Target.Password,
		"OSS_BUCKET": l.OSS.Bucket, "OSS_ENDPOINT": l.OSS.Endpoint,
		"OSS_ACCESS_KEY_ID": l.OSS.ClusterKey.ID, "OSS_ACCESS_KEY_SECRET": l.OSS.ClusterKey.Secret,
		"SNAPSHOT_RATE": rate, "RESTORE_RATE": rate,
		"RCLONE": s.b.rclone, "RCLONE_CONFIG": os.DevNull, "RCLONE_S3_NO_CHECK_BUCKET": "true",
	}
	for remote, at := range map[string]struct{ endpoint, region, id, secret string }{
		"S3":  {l.S3.Endpoint, l.S3.Region, l.S3.AccessKey, l.S3.SecretKey},
		"OSS": {s.b.ossAsS3, l.OSS.Region, l.OSS.CopierKey.ID, l.OSS.CopierKey.Secret},
	} {
		for name, value := range map[string]string{
			"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": at.endpoint, "FORCE_PATH_STYLE": "true", "REGION": at.region,
			"ACCESS_KEY_ID": at.id, "SECRET_ACCESS_KEY": at.secret,
		} {
			env["RCLONE_CONFIG_"+remote+"_"+name] = value
		}
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

// writeScript puts the script where bash finds it: this program knows no other place of it.
func writeScript(dir string) (string, error) {
	path := filepath.Join(dir, "migrate.sh")
	return path, os.WriteFile(path, migrateScript, 0o755)
}
