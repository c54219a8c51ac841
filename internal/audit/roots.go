package audit

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
)

func (j *job) readRoots(ctx context.Context) (err error) {
	if j.from, err = j.s3.ReadSide(ctx); err != nil {
		return err
	}
	where := fmt.Sprintf("below %s in the S3 bucket %s",
		j.request.Run().SourceBasePath(), j.request.Plan.Source.Repository.Bucket)
	if !j.from.Found {
		return failed(Missing, "audit the repository %s: there is none, so there is nothing to compare with", where)
	}
	if j.from.Root == nil {
		return failed(Damaged, "audit the repository %s: its root %s can't be understood", where, j.from.Key())
	}
	if j.to, err = j.oss.ReadSide(ctx); err != nil {
		return err
	}
	return j.completeRoots(ctx, where)
}

// either reads a metadata object from S3, or from OSS if S3 has none. It is nil if neither side
// gives one: then the listings and comparisons tell why.
func (j *job) either(ctx context.Context, key string) ([]byte, error) {
	for _, store := range []sides.Store{j.s3, j.oss} {
		data, _, err := store.Read(ctx, key)
		if err == nil {
			return data, nil
		}
		if !sides.Gone(err) && !sides.Damaged(err) {
			return nil, err
		}
	}
	return nil, nil
}

// compareRoots says what a cluster that reads OSS finds there.
func (j *job) compareRoots() {
	j.report.SourceGeneration, j.report.TargetGeneration = j.from.Generation, j.to.Generation
	j.report.SourceRoot = j.from.Key()
	if j.to.Found {
		j.report.TargetRoot = j.to.Key()
		j.report.RootsEqual = j.from.Key() == j.to.Key() && bytes.Equal(j.from.Data, j.to.Data)
	}
	from, to := j.from.Key(), j.to.Key()
	switch {
	case !j.to.Found:
		j.problem("there is no root index-N in OSS: nothing was published there")
	case j.to.Root == nil:
		j.problem("%s in OSS can't be understood", to)
	case !j.everything():
		for _, s := range j.snapshots {
			j.compareListed(s)
		}
	case j.to.Generation > j.from.Generation:
		j.problem("the root in OSS is %s, higher than %s in S3: a cluster reads the higher one", to, from)
	case j.to.Generation < j.from.Generation:
		j.problem("%s in OSS is older than %s in S3: later changes are not published yet", to, from)
	case !j.report.RootsEqual:
		j.problem("%s in OSS differs from %s in S3", to, from)
	}
}

// compareListed says what the root in OSS lists of a snapshot.
func (j *job) compareListed(s snapshot) {
	from, to := j.from.Key(), j.to.Key()
	listed, ok := j.to.Snapshot(s.UUID)
	switch {
	case !ok || listed.Name != s.Name:
		j.problem("%s in OSS doesn't list the snapshot %s [%s]", to, s.Name, s.UUID)
	case listed.State != s.State:
		j.problem("the state of the snapshot %s [%s] is %v in OSS (%s) and %v in S3",
			s.Name, s.UUID, listed.State, to, s.State)
	case !maps.Equal(indicesIn(s.root, s.Snapshot), indicesIn(j.to.Root, listed)):
		j.problem("the indices of the snapshot %s [%s], or their ids, differ between %s in OSS and %s in S3",
			s.Name, s.UUID, to, from)
	}
}

// indicesIn gives, by name, where a snapshot's indices stand.
func indicesIn(root *repository.Root, s repository.Snapshot) map[string]string {
	found := map[string]string{}
	for _, i := range root.IndicesOf(s.UUID) {
		found[i.Name] = i.ID + " " + s.IndexMetadataID(i.ID)
	}
	return found
}

// compareRootFolder compares the objects of the root folder, and looks for what doesn't belong
// beside them in OSS.
func (j *job) compareRootFolder(ctx context.Context) error {
	needs, err := j.rootNeeds()
	if err != nil {
		return err
	}
	keys := maps.Clone(j.from.Objects)
	maps.Copy(keys, j.to.Objects)
	for key := range needs {
		keys[key] = objectstore.Object{}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		pair := sides.Pair{Key: key, Source: j.from.Object(key), Target: j.to.Object(key)}
		if n := needs[key]; n != nil {
			n.Pair = pair
			if err := j.compareRootObject(ctx, n); err != nil {
				return err
			}
		} else if j.everything() {
			j.unneeded(pair)
		}
	}
	if !j.everything() {
		return nil
	}
	return j.foreignFolders(ctx)
}

// foreignFolders finds what stands in OSS beside the folder of the indices.
func (j *job) foreignFolders(ctx context.Context) error {
	folder, err := j.oss.Folder(ctx, "")
	if err != nil {
		return err
	}
	for _, name := range folder.Folders {
		if name == repository.IndicesPrefix {
			continue
		}
		for o, err := range j.oss.Ordered(ctx, name) {
			if err != nil {
				return err
			}
			j.foreign([]objectstore.Object{o})
		}
	}
	return nil
}

// rootNeeds are the objects of the root folder that belong to what is audited, by key.
func (j *job) rootNeeds() (map[string]*need, error) {
	needs := map[string]*need{}
	for _, root := range []*repository.Root{j.from.Root, j.to.Root} {
		if root == nil {
			continue
		}
		groups, err := repository.MetadataOf(root, nil, nil)
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			for _, o := range group.Objects {
				// An older root of OSS is no need, and a snapshot that S3 lists as a failure isn't
				// one.
				if needs[o.Key] == nil && (o.Class != repository.ClassRootIndex || root == j.from.Root) {
					needs[o.Key] = &need{class: o.Class, length: -1, optional: o.Optional}
				}
			}
		}
	}
	own, err := j.ownObjects(needs)
	if !j.everything() {
		maps.DeleteFunc(needs, func(key string, _ *need) bool { return !own[key] })
	}
	return needs, err
}

// ownObjects says of the objects that are a snapshot's own which snapshots need them. It returns
// their keys.
func (j *job) ownObjects(needs map[string]*need) (map[string]bool, error) {
	own := map[string]bool{}
	for n, s := range j.snapshots {
		for _, keyOf := range []func(string) (string, error){repository.SnapshotKey, repository.SnapshotMetadataKey} {
			key, err := keyOf(s.UUID)
			if err != nil {
				return nil, err
			}
			if need := needs[key]; need != nil {
				need.snapshots, need.optional, own[key] = append(need.snapshots, n), false, true
			}
		}
	}
	return own, nil
}

func (j *job) compareRootObject(ctx context.Context, n *need) error {
	switch {
	case n.class == repository.ClassRootIndex:
		j.count(n)
		switch {
		case n.Target == nil:
			j.bad(n, missing, "the root of S3 is not in OSS")
		case !j.report.RootsEqual && j.to.Generation == j.from.Generation:
			j.bad(n, different, "its bytes differ from those in S3")
		default:
			j.proven(n)
		}
		return nil
	case n.class == repository.ClassLatest && n.Target != nil:
		return j.compareLatest(ctx, n)
	}
	return j.check(ctx, n)
}

// compareLatest compares index.latest with the root in OSS: the copy writes it, so it need not be
// what S3 has.
func (j *job) compareLatest(ctx context.Context, n *need) error {
	j.count(n)
	data, _, err := j.mover.ReadBack(ctx, n.Key, smallObject)
	if err != nil && !sides.Gone(err) && !sides.Damaged(err) {
		return err
	}
	if bytes.Equal(data, repository.EncodeLatest(j.to.Generation)) {
		j.proven(n)
	} else {
		j.bad(n, different, "it doesn't name the highest root in OSS")
	}
	return nil
}
