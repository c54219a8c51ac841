package activities

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// listsSuffix ends the name of the folder with a run's lists, see migration.Run.ListsPath.
const listsSuffix = "-lists"

// foldersOf are the folders of a run: its repository, and beside it its lists.
func foldersOf(token string) []string { return []string{token + "/", token + listsSuffix + "/"} }

// lookForFolders finds the folders of the plan's runs in both buckets, and tells whose they are.
func (l *search) lookForFolders(ctx context.Context) error {
	plan := l.request.Plan
	for _, at := range []side{onSource, onTarget} {
		store, where, err := l.bucketOf(ctx, at)
		var folder objectstore.Folder
		if err == nil {
			folder, err = store.ListFolder(ctx, "")
		}
		if objectstore.KindOf(err) == objectstore.BucketMissing {
			continue
		}
		if err != nil {
			if !permanent(err) {
				return err
			}
			if err := l.warn("the folders in "+where+" can't be listed", err); err != nil {
				return err
			}
			continue
		}
		for _, name := range folder.Folders {
			token := strings.TrimSuffix(strings.TrimSuffix(name, "/"), listsSuffix)
			if !migration.TokenPattern.MatchString(token) {
				continue
			}
			if l.runs[token] == nil {
				l.runs[token] = &runFolder{in: map[side]bool{}}
			}
			l.runs[token].in[at] = true
			l.judgeFolder(ctx, store, token, plan)
		}
	}
	return nil
}

// bucketOf opens the plan's folder in a bucket, and names it.
func (l *search) bucketOf(ctx context.Context, at side) (bucket, string, error) {
	plan := l.request.Plan
	if at == onSource {
		store, err := l.inS3(ctx, plan)
		return store, "S3 " + plan.Source.Repository.Bucket + "/" + plan.Source.Repository.BasePath + "/", err
	}
	store, err := l.inOSS(ctx, plan)
	return store, "OSS " + plan.Target.Repository.Bucket + "/" + plan.Target.Repository.BasePath + "/", err
}

// judgeFolder tells whose a run's folder is. Several plans may share a base path.
func (l *search) judgeFolder(ctx context.Context, store bucket, token string, plan migration.Plan) {
	run := l.runs[token]
	if run.origin != "" && run.origin != migration.OriginPerhaps {
		return // the other bucket's folder has told it
	}
	run.origin = migration.OriginOurs
	if slices.ContainsFunc(l.registered, func(r registration) bool { return r.run.Token == token }) {
		run.why = "a repository of this plan is registered for this folder"
		return
	}
	if l.past.runs[token] != nil {
		run.why = "Temporal knows a run of this plan with this token"
		return
	}
	names, err := snapshotNames(ctx, store, token+"/")
	foreign := slices.IndexFunc(names, func(name string) bool {
		_, own := migration.TurnOf(plan.Name, name)
		return !own
	})
	switch {
	case err != nil || len(names) == 0:
		run.origin, run.why = migration.OriginPerhaps, "nothing tells which plan's run wrote them"
	case foreign >= 0:
		run.origin = migration.OriginKept
		run.why = "the repository there holds snapshots that this plan has not taken, such as " + names[foreign]
	default:
		run.why = "the repository there holds snapshots of this plan"
	}
}

// snapshotNames are those that the root of a repository lists.
func snapshotNames(ctx context.Context, store objectstore.Reader, prefix string) ([]string, error) {
	folder, err := store.ListFolder(ctx, prefix)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, object := range folder.Objects {
		keys = append(keys, strings.TrimPrefix(object.Key, prefix))
	}
	generation, found := repository.LatestGeneration(keys)
	if !found {
		generation = -1
	}
	data, _, err := store.Get(ctx, prefix+repository.RootIndexKey(generation), sides.MetadataLimit)
	if err != nil {
		return nil, err
	}
	root, err := repository.ParseRoot(generation, data)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, snapshot := range root.Snapshots {
		names = append(names, snapshot.Name)
	}
	return names, nil
}

func (l *search) lookForUploads(ctx context.Context) error {
	sink, err := l.inOSS(ctx, l.request.Plan)
	if err != nil {
		return l.warn("the uploads in OSS can't be listed", err)
	}
	uploads, err := sink.ListUploads(ctx, "")
	if objectstore.KindOf(err) == objectstore.BucketMissing {
		return nil
	}
	if err != nil {
		if !permanent(err) {
			return err
		}
		return l.warn("the uploads in OSS can't be listed", err)
	}
	_, where, _ := l.bucketOf(ctx, onTarget)
	for _, upload := range uploads {
		token, _, _ := strings.Cut(upload.Key, "/")
		if !migration.TokenPattern.MatchString(token) {
			continue
		}
		if l.runs[token] == nil { // nothing was completed there
			l.runs[token] = &runFolder{in: map[side]bool{}}
			l.judgeFolder(ctx, sink, token, l.request.Plan)
		}
		l.found = append(l.found, remnant{
			kind: migration.RemainsUploads, origin: l.runs[token].origin, why: l.runs[token].why, token: token,
			where: where + token + "/", name: upload.Key,
		})
	}
	return nil
}

func (l *search) lookForObjects(ctx context.Context) error {
	for _, at := range []side{onSource, onTarget} {
		store, where, err := l.bucketOf(ctx, at)
		for _, token := range slices.Sorted(maps.Keys(l.runs)) {
			run := l.runs[token]
			if !run.in[at] {
				continue
			}
			if err != nil {
				return err
			}
			var used usage
			for _, folder := range foldersOf(token) {
				more, err := usageBelow(ctx, store, folder)
				if err != nil {
					return err
				}
				used.objects += more.objects
				used.bytes += more.bytes
			}
			if used.objects > 0 {
				l.found = append(l.found, remnant{
					kind: migration.RemainsObjects, origin: run.origin, why: run.why, token: token, at: at,
					where: where + token + "/", count: used.objects, bytes: used.bytes,
				})
			}
		}
	}
	return nil
}
