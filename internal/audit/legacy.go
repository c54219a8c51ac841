package audit

import (
	"context"

	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
)

// A root of Elasticsearch 2.x lists names only. Once it is completed from the snapshots' own
// objects, its repository is audited as any other.

// completeRoots adds to roots of 2.x what they leave to the snapshots' own objects. What can't be
// read or understood on either side is a problem: then nobody can tell what the snapshot needs.
func (j *job) completeRoots(ctx context.Context, where string) error {
	for _, r := range []sides.Side{j.from, j.to} {
		if !r.Legacy() {
			continue
		}
		read := func(ctx context.Context, key string, s repository.Snapshot) ([]byte, error) {
			if r.OfElasticsearch1(s, key) {
				return nil, failed(Refused, "audit the repository %s: it is of Elasticsearch 1.x, "+
					"which the copy doesn't support", where)
			}
			return j.eitherInfo(ctx, key, s)
		}
		infos, err := sides.SnapshotInfos(ctx, j.indicesAtOnce(), r.Root, read)
		if err != nil {
			return err
		}
		if err := r.Complete(infos); err != nil {
			j.problem("what the snapshots of %s need can't be understood: %v", r.Key(), err)
		}
	}
	return nil
}

// eitherInfo reads a snapshot's own object from S3, or from OSS if S3's is gone; nothing if it is
// of no use.
func (j *job) eitherInfo(ctx context.Context, key string, s repository.Snapshot) ([]byte, error) {
	data, err := j.either(ctx, key)
	if err != nil {
		return nil, err
	}
	if info, err := repository.ParseSnapshotInfo(data); err == nil && info.Name == s.Name {
		return data, nil
	}
	if only := j.request.Snapshot; only == "" || only == s.Name {
		// Both roots may list it.
		j.problemOnce("what the snapshot %s needs is unknown: %s is missing or damaged", s.Name, key)
	}
	return nil, nil
}
