package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/snapferry/snapferry/migration"
)

// rcloneEnvironment is rclone's configuration: two remotes of type s3 and no file. Retries and the
// check of each object after its PUT are as rclone comes. Whether the bucket is there need not be
// asked.
func (st *stage) rcloneEnvironment() []string {
	env := environment("RCLONE_CONFIG=/dev/null", "RCLONE_S3_NO_CHECK_BUCKET=true")
	for remote, endpoint := range map[string]string{"SRC": st.at.SourceS3, "DST": st.at.SinkS3} {
		for name, value := range map[string]string{
			"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": endpoint, "FORCE_PATH_STYLE": "true", "REGION": region,
			"ACCESS_KEY_ID": accessKey, "SECRET_ACCESS_KEY": secretKey,
		} {
			env = append(env, fmt.Sprintf("RCLONE_CONFIG_%s_%s=%s", remote, name, value))
		}
	}
	if st.caFile != "" {
		env = append(env, "RCLONE_CA_CERT="+st.caFile)
	}
	return env
}

// parallel is how many transfers and how many checks rclone runs at once: together the 64 requests
// that a plan without settings of its own lets a copy send.
const parallel = migration.DefaultConcurrency / 2

// startRclone starts a copy of the complete repository into a folder of the sink.
func (st *stage) startRclone(path, basePath string) (*process, error) {
	return start(filepath.Join(st.dir, "rclone.log"), st.rcloneEnvironment(), path,
		"copy", "src:"+sourceBucket+"/"+sourceBase, "dst:"+sinkBucket+"/"+basePath,
		"--checksum", "--fast-list", "--transfers", fmt.Sprint(parallel), "--checkers", fmt.Sprint(parallel), "--stats",
		"0")
}

// runRclone copies with rclone. It publishes in no order: its end is the process's end.
func (b *bench) runRclone(ctx context.Context, st *stage, basePath string, halfway int64) (outcome, error) {
	began := b.now()
	p, err := st.startRclone(b.rclone, basePath)
	if err != nil {
		return outcome{}, err
	}
	defer p.kill()
	var o outcome
	if halfway > 0 {
		if err := b.awaitStored(ctx, st, halfway, p.done); err != nil {
			return o, err
		}
		p.kill()
		o.add(p.total())
		if p, err = st.startRclone(b.rclone, basePath); err != nil {
			return o, err
		}
		defer p.kill()
	}
	err = p.wait(ctx)
	o.wall = b.now().Sub(began)
	o.add(p.total())
	if ctx.Err() != nil {
		return o, context.Cause(ctx)
	}
	if err != nil {
		o.problem = fmt.Sprintf("rclone ended with %v", err)
	}
	return o, nil
}
