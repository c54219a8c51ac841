//go:build lab

package activities

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/snapferry/snapferry/internal/osstest"
	"github.com/snapferry/snapferry/internal/secrets"
	"github.com/snapferry/snapferry/lab"
	"github.com/snapferry/snapferry/migration"
)

// What a person is shown when OSS refuses the target's key, or there is no bucket: never a failure
// that is retried for ever. From 6.x on the plugin looks at OSS only when it reads, so registration
// alone notices nothing.
func TestLabOSSRefusesTheTarget(t *testing.T) {
	for _, version := range []string{lab.TargetVersion, "6.8.23", "7.10.2", "7.17.28"} {
		t.Run(version, func(t *testing.T) {
			var l *lab.Lab
			if version == lab.TargetVersion {
				l, _ = useSharedLab(t)
			} else {
				var err error
				l, err = lab.Start(t.Context(), lab.Options{
					Dir: t.TempDir(), Out: os.Stderr, TargetVersion: version,
					Parts: []lab.Part{lab.PartS3, lab.PartOSS, lab.PartSource, lab.PartTarget},
				})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, l.Close()) })
			}
			require.NoError(t, l.OSS.Server.CreateBucket(l.OSS.Bucket, osstest.BucketOptions{}))
			ossRefusesOnNodes(t, l)
		})
	}
}

func ossRefusesOnNodes(t *testing.T, l *lab.Lab) {
	setEnvironment(t, l)
	server, copier, cluster := l.OSS.Server, l.OSS.CopierKey, l.OSS.ClusterKey
	t.Cleanup(func() { server.SetKeys(copier, cluster) })
	rig := func(token, bucket string) *labRig {
		plan := l.Plan("refused", "films")
		plan.Target.Repository.Bucket = bucket
		input, err := migration.NewInput(plan)
		require.NoError(t, err)
		resolved, err := input.Plan()
		require.NoError(t, err)
		r := &labRig{
			t: t, lab: l, run: migration.Run{Plan: resolved, Token: token}, activities: New(secrets.Fence{}),
		}
		t.Cleanup(r.tidy)
		return r
	}
	restore := func(r *labRig) migration.RestoreRequest {
		return migration.RestoreRequest{
			Run: r.run, Snapshot: migration.Snapshot{Name: "s", UUID: "u"},
			Indices: []migration.Index{{Name: "films", Shards: 1}},
		}
	}

	t.Run("no bucket", func(t *testing.T) {
		r := rig("b0", "there-is-no-such-bucket")
		labRefused(r, migration.ErrorRefused, "does not exist", r.activities.RegisterRepositories, r.run)
	})
	t.Run("a wrong key at registration", func(t *testing.T) {
		r := rig("w0", l.OSS.Bucket)
		server.SetKeys(copier)
		labRefused(r, migration.ErrorUnauthorized, "InvalidAccessKeyId", r.activities.RegisterRepositories,
			r.run)
		server.SetKeys(copier, cluster)
		labMust[any](r, r.activities.RegisterRepositories, r.run)
	})
	t.Run("a wrong secret", func(t *testing.T) {
		r := rig("w1", l.OSS.Bucket)
		other := cluster
		other.Secret = "another-secret"
		server.SetKeys(copier, other)
		labRefused(r, migration.ErrorUnauthorized, "SignatureDoesNotMatch", r.activities.RegisterRepositories,
			r.run)
	})
	t.Run("revoked, and replaced later", func(t *testing.T) {
		server.SetKeys(copier, cluster)
		r := rig("r0", l.OSS.Bucket)
		labMust[any](r, r.activities.RegisterRepositories, r.run)
		newer := osstest.Key{ID: "LTAInewerkey0000", Secret: "newer-secret", ReadOnly: true}
		server.SetKeys(copier, newer)
		labRefused(r, migration.ErrorUnauthorized, "InvalidAccessKeyId", r.activities.RestoreSnapshot,
			restore(r))
		labRefused(r, migration.ErrorUnauthorized, "InvalidAccessKeyId", r.activities.RegisterRepositories,
			r.run)
		t.Setenv("SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_ID", newer.ID)
		t.Setenv("SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_SECRET", newer.Secret)
		// The key is in the registration again: only the snapshot, which nobody took, is missing.
		labRefused(r, migration.ErrorRepository, "doesn't see it", r.activities.RestoreSnapshot, restore(r))
	})
}

// labRefused runs an activity once, which has to fail for good.
func labRefused(r *labRig, want migration.ErrorType, says string, method, in any) {
	r.t.Helper()
	_, err := labTry[any](r, method, in)
	var failure *temporal.ApplicationError
	require.ErrorAs(r.t, err, &failure)
	require.Equal(r.t, string(want), failure.Type(), "%v", err)
	require.True(r.t, failure.NonRetryable(), "%v", err)
	require.Contains(r.t, failure.Message(), says)
	require.NotContains(r.t, failure.Message(), r.lab.OSS.ClusterKey.Secret)
}
