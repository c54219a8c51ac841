package activities

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// FindRemains finds what the plan's runs left behind, and says of each thing whose it is and what
// tells so. It changes nothing. It refuses while a run of the plan is under way.
func (a *Activities) FindRemains(ctx context.Context, in migration.FindRemainsRequest) (migration.Remains, error) {
	return perform(ctx, a, "looking for what earlier runs left behind",
		func(ctx context.Context, p *pulse) (migration.Remains, error) {
			l, err := a.search(ctx, in.RemainsRequest, in.Kinds, p)
			if err != nil {
				return migration.Remains{}, err
			}
			return l.grouped(), nil
		})
}

// remnant is one thing that a run may have left behind.
type remnant struct {
	kind   migration.RemainsKind
	origin migration.RemainsOrigin
	where  string
	token  string
	why    string
	name   string
	count  int64 // 0 stands for 1
	bytes  int64

	// What its removal needs.
	at     side
	run    migration.Run     // whose repository it is in
	uuid   string            // of an index
	blocks map[string]string // that the index had of itself
	want   string            // the value of a throttle
	stays  bool              // whatever a person names
	tried  bool              // a throw-away index on which definitions were tried
}

// search is a look for what a plan's runs left behind.
type search struct {
	*Activities
	request  migration.RemainsRequest
	pulse    *pulse
	past     *past
	runs     map[string]*runFolder
	found    []remnant
	warnings []string

	registered []registration
	// others says that a repository of another plan's run is registered on the target.
	others bool
}

// registration is a repository of one of the plan's runs on a cluster.
type registration struct {
	at        side
	run       migration.Run
	snapshots []elastic.SnapshotInfo // on the source
}

// runFolder is what is known of a run's folder in both buckets.
type runFolder struct {
	origin migration.RemainsOrigin
	why    string
	in     map[side]bool
}

func (a *Activities) search(ctx context.Context, request migration.RemainsRequest, kinds []migration.RemainsKind,
	p *pulse,
) (*search, error) {
	if err := a.notRunning(ctx, request.Plan); err != nil {
		return nil, err
	}
	remembered, err := a.remember(ctx, request.Plan)
	if err != nil {
		return nil, err
	}
	l := &search{
		Activities: a, request: request, pulse: p, past: remembered, runs: map[string]*runFolder{},
		warnings: remembered.warnings,
	}
	wants := func(any ...migration.RemainsKind) bool {
		return slices.ContainsFunc(any, func(kind migration.RemainsKind) bool { return slices.Contains(kinds, kind) })
	}
	steps := []struct {
		wanted bool
		doing  string
		do     func(context.Context) error
	}{
		{wants(migration.RemainsBlocks), "the source's blocks", l.lookForBlocks},
		{!wants(migration.RemainsBlocks) || len(kinds) > 1, "registrations", l.lookForRegistrations},
		{
			wants(migration.RemainsRunning, migration.RemainsSnapshots, migration.RemainsIndices), "snapshots",
			l.readSnapshots,
		},
		{wants(migration.RemainsThrottles), "throttles", l.lookForThrottles},
		{wants(migration.RemainsIndices), "indices on the target", l.lookForIndices},
		{wants(migration.RemainsUploads, migration.RemainsObjects), "folders", l.lookForFolders},
		{wants(migration.RemainsUploads), "uploads", l.lookForUploads},
		{wants(migration.RemainsObjects), "objects", l.lookForObjects},
	}
	for _, step := range steps {
		if !step.wanted {
			continue
		}
		p.set(migration.Progress{Doing: "looking for " + step.doing})
		if err := step.do(ctx); err != nil {
			return nil, err
		}
	}
	l.found = slices.DeleteFunc(l.found, func(r remnant) bool {
		return !slices.Contains(kinds, r.kind) || request.Token != "" && r.token != "" && r.token != request.Token
	})
	slices.SortStableFunc(l.found, func(a, b remnant) int {
		return cmp.Or(strings.Compare(a.token, b.token), strings.Compare(string(a.origin), string(b.origin)),
			strings.Compare(a.name, b.name))
	})
	return l, nil
}

// warn notes what could not be looked at; a cancellation stays an error.
func (l *search) warn(what string, err error) error {
	if canceled(err) {
		return err
	}
	l.warnings = append(l.warnings, human.Shorten(what+": "+messageOf(err), longestWarning))
	return nil
}

// longestWarning is in bytes.
const longestWarning = 300

// grouped is what was found, bounded.
func (l *search) grouped() migration.Remains {
	remains := migration.Remains{Warnings: l.warnings}
	if len(remains.Warnings) > migration.RemainsNames {
		remains.Warnings = remains.Warnings[:migration.RemainsNames]
	}
	left := 0
	for _, r := range l.found {
		at := slices.IndexFunc(remains.Found, func(g migration.RemainsGroup) bool {
			return g.Kind == r.kind && g.Origin == r.origin && g.Where == r.where && g.Token == r.token &&
				g.Why == r.why
		})
		if at < 0 {
			if len(remains.Found) == migration.RemainsGroups {
				left++
				continue
			}
			at = len(remains.Found)
			remains.Found = append(remains.Found, migration.RemainsGroup{
				Kind: r.kind, Origin: r.origin, Where: r.where, Token: r.token, Why: r.why,
			})
		}
		group := &remains.Found[at]
		group.Add(r.name)
		group.Count += max(r.count, 1) - 1
		group.Bytes += r.bytes
	}
	if left > 0 {
		remains.Warnings = append(remains.Warnings, fmt.Sprintf("%d more things are not listed: name one run with "+
			"its token", left))
	}
	bound(&remains)
	return remains
}

// mostRemains bounds the names of a result, in bytes: all of it must stay far below a payload's
// limit.
const mostRemains = 32 << 10

// bound leaves out names until the rest is small enough.
func bound(remains *migration.Remains) {
	for most := migration.RemainsNames; most > 0; most /= 2 {
		size := 0
		for i := range remains.Found {
			names := &remains.Found[i].Names
			*names = (*names)[:min(len(*names), most)]
			for _, name := range *names {
				size += len(name)
			}
		}
		if size <= mostRemains {
			return
		}
	}
}

// ownRun tells whether a repository's name is that of a run of the plan, and which run it is.
func ownRun(plan migration.Plan, repository string) (migration.Run, bool) {
	for _, rehearsal := range []bool{false, true} {
		plan.Rehearsal = rehearsal
		empty := migration.Run{Plan: plan}
		token, ok := strings.CutPrefix(repository, empty.RepositoryName())
		if ok && migration.TokenPattern.MatchString(token) {
			return migration.Run{Plan: plan, Token: token}, true
		}
	}
	return migration.Run{}, false
}

// lookForRegistrations finds the repositories of the plan's runs on both clusters. A name alone
// proves nothing: the folder must be the run's as well.
func (l *search) lookForRegistrations(ctx context.Context) error {
	for _, at := range []side{onSource, onTarget} {
		client, err := l.cluster(ctx, at, migration.Run{Plan: l.request.Plan})
		if err == nil {
			err = l.registeredOn(ctx, client, at)
		}
		if err != nil {
			if !permanent(err) {
				return err
			}
			if err := l.warn("the repositories of the "+string(at)+" can't be listed", err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *search) registeredOn(ctx context.Context, client *elastic.Client, at side) error {
	types, err := client.Repositories(ctx)
	if err != nil {
		return err
	}
	for name := range types {
		run, own := ownRun(l.request.Plan, name)
		if !own {
			l.others = l.others || at == onTarget && strings.HasPrefix(name, ownRepositories)
			continue
		}
		registered, err := client.GetRepository(ctx, name)
		if elastic.KindOf(err) == elastic.Missing {
			continue
		}
		if err != nil {
			return err
		}
		bucket, folder := run.Plan.Source.Repository.Bucket, run.SourceBasePath()
		if at == onTarget {
			bucket, folder = run.Plan.Target.Repository.Bucket, run.TargetBasePath()
		}
		if fmt.Sprint(registered.Settings["bucket"]) != bucket ||
			fmt.Sprint(registered.Settings["base_path"]) != folder {
			l.warnings = append(l.warnings,
				fmt.Sprintf("repository %s on the %s %s is not in the plan's folder %s/%s: "+
					"it is left alone", name, at, client.Host(), bucket, folder))
			continue
		}
		l.registered = append(l.registered, registration{at: at, run: run})
		l.found = append(l.found, remnant{
			kind: migration.RemainsRepositories, origin: migration.OriginOurs, token: run.Token, name: name,
			where: string(at) + " " + client.Host(), why: "its name and its folder are those of a run of this plan",
			at: at, run: run,
		})
	}
	return nil
}

// readSnapshots lists the snapshots in our repositories on the source.
func (l *search) readSnapshots(ctx context.Context) error {
	for i, r := range l.registered {
		if r.at != onSource {
			continue
		}
		client, err := l.cluster(ctx, onSource, r.run)
		if err != nil {
			return err
		}
		snapshots, err := client.Snapshots(ctx, r.run.RepositoryName())
		if elastic.KindOf(err) == elastic.Missing {
			continue
		}
		if err != nil {
			if !permanent(err) {
				return err
			}
			if err := l.warn("the snapshots of "+r.run.RepositoryName()+" can't be listed", err); err != nil {
				return err
			}
			continue
		}
		l.registered[i].snapshots = snapshots
		for _, snapshot := range snapshots {
			found := remnant{
				kind: migration.RemainsSnapshots, origin: migration.OriginOurs, token: r.run.Token, name: snapshot.Name,
				where: "repository " + r.run.RepositoryName() + " on the source " + client.Host(),
				why:   "the repository is that of a run of this plan", at: onSource, run: r.run,
			}
			l.found = append(l.found, found)
			if snapshot.State == elastic.InProgress {
				found.kind = migration.RemainsRunning
				l.found = append(l.found, found)
			}
		}
	}
	return nil
}

// chosen tells whether a thing is to be removed.
func (l *search) chosen(r remnant) bool {
	removes, named := l.request.Removes(r.kind)
	if !removes || r.stays {
		return false
	}
	byIndex := r.kind == migration.RemainsBlocks || r.kind == migration.RemainsIndices
	if byIndex && len(l.request.Indices) > 0 {
		exact := slices.Contains(l.request.Indices, r.name)
		return exact || r.origin != migration.OriginKept && slices.ContainsFunc(l.request.Indices,
			func(pattern string) bool { return elastic.Matches(pattern, r.name) })
	}
	switch {
	case r.origin == migration.OriginOurs:
		return true
	case r.origin == migration.OriginKept:
		return false
	case r.kind == migration.RemainsBlocks || r.kind == migration.RemainsThrottles:
		return named
	case r.kind == migration.RemainsUploads || r.kind == migration.RemainsObjects:
		return l.request.Token == r.token
	}
	return false // an index is deleted only if it is named
}
