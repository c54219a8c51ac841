package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/snapferry/snapferry/migration"
)

// Plan is a migration from this lab's source to its target, with rounds that follow each other
// quickly. Its secrets are references to the variables of Environment.
func (l *Lab) Plan(name string, indices ...string) migration.Plan {
	return migration.Plan{
		Name:    name,
		Indices: indices,
		Source: migration.Source{
			Endpoint: l.Source.Endpoint,
			Auth:     migration.Auth{Type: migration.AuthSigV4, Region: l.Source.Region},
			Repository: migration.SourceRepository{
				Bucket: l.S3.Bucket, Region: l.S3.Region, RoleARN: l.Source.RoleARN,
				ServerSideEncryption: true,
				Reader:               migration.SourceReader{Endpoint: l.S3.Endpoint, PathStyle: true},
			},
		},
		Target: migration.Target{
			Endpoint: l.Target.Endpoint,
			Auth: migration.Auth{
				Type: migration.AuthBasic, User: l.Target.User,
				Password: "env:SNAPFERRY_SECRET_TARGET_PASSWORD",
			},
			Repository: migration.TargetRepository{
				Bucket: l.OSS.Bucket, Region: l.OSS.Region, Endpoint: l.OSS.Endpoint,
				AccessKeyID:     "env:SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_ID",
				SecretAccessKey: "env:SNAPFERRY_SECRET_OSS_CLUSTER_ACCESS_KEY_SECRET",
				CreateBucket:    true,
				Writer: migration.TargetWriter{
					Endpoint: l.OSS.Endpoint, AccessKeyID: "env:SNAPFERRY_SECRET_OSS_ACCESS_KEY_ID",
					AccessKeySecret: "env:SNAPFERRY_SECRET_OSS_ACCESS_KEY_SECRET",
				},
			},
		},
		Rounds: migration.Rounds{Interval: migration.Duration(5 * time.Second)},
	}
}

// WritePlan writes a plan as YAML into the run directory and returns its path.
func (l *Lab) WritePlan(plan migration.Plan) (string, error) {
	text, err := yaml.Marshal(plan)
	if err != nil {
		return "", fmt.Errorf("the plan %s can't be written: %w", plan.Name, err)
	}
	path := filepath.Join(l.Dir, plan.Name+".yaml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", fmt.Errorf("the plan %s can't be written: %w", plan.Name, err)
	}
	return path, nil
}
