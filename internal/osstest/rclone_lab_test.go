//go:build lab

package osstest_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/osstest"
)

// rclone writes, compares, copies and deletes through the S3 face, with and without TLS: small
// objects, objects in parts that are read in several streams, and copies inside the server.
func TestLabRclone(t *testing.T) {
	binary, err := filepath.Abs("../../.lab/bin/rclone")
	require.NoError(t, err)
	if _, err := os.Stat(binary); err != nil {
		t.Skip("the lab's rclone is not built")
	}
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", tls), func(t *testing.T) {
			srv := startS3(t, osstest.Options{S3: &osstest.S3Options{TLS: tls}})
			dir, ca := t.TempDir(), filepath.Join(t.TempDir(), "ca.pem")
			require.NoError(t, os.WriteFile(ca, srv.CA(), 0o644))
			for i := range 12 {
				folder := filepath.Join(dir, "indices", fmt.Sprint(i%3))
				require.NoError(t, os.MkdirAll(folder, 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(folder, fmt.Sprintf("f +ü%%%d", i)), noise(i*1000),
					0o644))
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "big"), noise(20<<20), 0o644))
			env := []string{"RCLONE_CONFIG=" + os.DevNull, "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
			for _, remote := range []string{"A", "B"} { // two, or rclone would let the server copy
				prefix := "RCLONE_CONFIG_" + remote + "_"
				env = append(env, prefix+"TYPE=s3", prefix+"PROVIDER=Other", prefix+"ENDPOINT="+srv.S3URL(), prefix+
					"FORCE_PATH_STYLE=true",
					prefix+"REGION="+regionS3, prefix+"ACCESS_KEY_ID=ak", prefix+"SECRET_ACCESS_KEY=sk", prefix+
						"UPLOAD_CUTOFF=6M", prefix+"CHUNK_SIZE=6M")
			}
			rclone := func(args ...string) {
				t.Helper()
				if tls {
					args = append(args, "--ca-cert", ca)
				}
				cmd := exec.CommandContext(t.Context(), binary,
					append(args, "--retries", "1", "--low-level-retries", "1")...)
				cmd.Env = env
				output, err := cmd.CombinedOutput()
				require.NoError(t, err, "rclone %v: %s", args, output)
			}
			rclone("copy", dir, "a:bkt/src")
			rclone("check", dir, "a:bkt/src", "--download")
			rclone("copy", "a:bkt/src", "b:other", "--checksum", "--fast-list", "--multi-thread-cutoff", "10M",
				"--multi-thread-streams", "3")
			rclone("check", dir, "b:other", "--download")
			rclone("copy", "a:bkt/src", "a:bkt/copy", "--checksum", "--s3-copy-cutoff", "10M")
			rclone("check", dir, "a:bkt/copy", "--download")
			count := 0
			require.NoError(t, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					count++
				}
				return err
			}))
			assert.Len(t, srv.Objects("other"), count)
			assert.Len(t, srv.Objects("bkt"), 2*count)
			for _, op := range []string{"UploadPart", "UploadPartCopy", "CopyObject", "CreateBucket"} {
				assert.Positive(t, srv.Count(op), op)
			}
			for _, u := range srv.Usage() {
				switch u.Op {
				case "HeadObject", "HeadBucket", "ListObjects": // of what isn't there yet
				default:
					assert.Zero(t, u.Failed, u.Op)
				}
			}
			rclone("delete", "b:other")
			assert.Empty(t, srv.Objects("other"))
			assert.Empty(t, srv.Uploads("other"))
		})
	}
}
