package activities

import (
	"context"
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// A repository of Elasticsearch 2.x is audited as any other, once its root is completed: the listings of both sides are
// merged, and what the snapshots need is held against them.

// completeRoots adds to roots of 2.x what they leave to the snapshots' own objects. What can't be read or understood on
// either side is a problem: nobody can tell then what the snapshot needs.
func (j *auditJob) completeRoots(ctx context.Context, where string) error {
	for _, r := range []sides.Side{j.from, j.to} {
		if !r.Legacy() {
			continue
		}
		infos, err := sides.SnapshotInfos(ctx, j.listing(), r.Root, func(ctx context.Context, key string, s repository.Snapshot) ([]byte, error) {
			if r.OfElasticsearch1(s, key) {
				return nil, fail(migration.ErrorRefused, "audit: the repository %s is of Elasticsearch 1.x, which the copy doesn't know", where)
			}
			return j.eitherInfo(ctx, key, s)
		})
		if err != nil {
			return err
		}
		if err := r.Complete(infos); err != nil {
			j.problem("what the snapshots of %s need can't be understood: %v", r.Key(), err)
		}
	}
	return nil
}

// eitherInfo reads a snapshot's own object from S3, or from OSS if S3's is gone; nothing if it is of no use.
func (j *auditJob) eitherInfo(ctx context.Context, key string, s repository.Snapshot) ([]byte, error) {
	data, err := j.either(ctx, key)
	if err != nil {
		return nil, err
	}
	if info, err := repository.ParseSnapshotInfo(data); err == nil && info.Name == s.Name {
		return data, nil
	}
	if only := j.request.Snapshot; only != "" && only != s.Name {
		return nil, nil
	}
	problem := fmt.Sprintf("nobody can tell what the snapshot %s needs: %s is gone or damaged", s.Name, key)
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Contains(j.report.Problems, problem) { // both roots may list it
		j.report.Problems = append(j.report.Problems, problem)
	}
	return nil, nil
}
