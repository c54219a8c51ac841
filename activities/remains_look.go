package activities

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// lookForBlocks finds the indices of the source that have a write block, and tells ours from
// others: by what the histories say, and by whether the target has taken over.
func (l *search) lookForBlocks(ctx context.Context) error {
	plan := l.request.Plan
	client, err := l.cluster(ctx, onSource, migration.Run{Plan: plan})
	if err != nil {
		return err
	}
	blocked, err := l.matching(ctx, client, plan.Selection())
	if err != nil {
		return err
	}
	unmatched := slices.DeleteFunc(slices.Sorted(maps.Keys(l.past.blocks)),
		func(name string) bool { _, there := blocked[name]; return there })
	more, err := l.present(ctx, client, unmatched)
	if err != nil {
		return err
	}
	maps.Copy(blocked, more)
	maps.DeleteFunc(blocked, func(_ string, index elastic.Index) bool { return !hasOurBlock(index) })
	if len(blocked) == 0 {
		return nil
	}
	taken, unseen, why := l.takenOver(ctx, blocked)
	if why != nil {
		if err := l.warn("the target can't be asked whether it has taken over", why); err != nil {
			return err
		}
	}
	for name, index := range blocked {
		found := remnant{
			kind: migration.RemainsBlocks, where: "source " + client.Host(), name: name, at: onSource,
			uuid: index.UUID,
		}
		l.judgeBlock(&found, taken[name], unseen[name])
		l.found = append(l.found, found)
	}
	return nil
}

// matching are the indices that names and patterns stand for, open or closed. One that can't be
// read becomes a warning.
func (l *search) matching(ctx context.Context, client *elastic.Client,
	selection migration.IndexSelection,
) (map[string]elastic.Index, error) {
	found, err := resolve(ctx, client, selection)
	if err != nil {
		return nil, err
	}
	indices, err := l.present(ctx, client, slices.Concat(found.closed, selection.Names))
	for _, index := range found.indices {
		indices[index.Name] = index
	}
	return indices, err
}

// present are those of the names that are indices.
func (l *search) present(ctx context.Context, client *elastic.Client,
	names []string,
) (map[string]elastic.Index, error) {
	present, unreadable, err := look(ctx, client, names)
	if len(unreadable) > 0 {
		l.warnings = append(l.warnings, human.Shorten(named("these indices on "+client.Host()+" can't be read: ",
			slices.Sorted(maps.Keys(unreadable))), longestWarning))
	}
	return present, err
}

// judgeBlock tells whose a write block on the source is.
func (l *search) judgeBlock(found *remnant, taken, unseen bool) {
	block, known := l.past.blocks[found.name]
	if known = known && (block.uuid == "" || block.uuid == found.uuid); !known {
		block = pastBlock{} // of an index that had the name before
	}
	run := l.past.runs[block.token]
	found.blocks, found.token = block.found, block.token
	found.origin = migration.OriginKept
	switch {
	case known && block.found[writeBlock] == "true":
		found.why, found.stays = "they had this block before a run of this plan set its own", true
	case taken:
		found.why = "the target's index takes writes, so it was handed over. Two writable clusters would lose data"
	case known && run != nil && run.product():
		found.why = "the run that set the block began the cutover, or its history can't be read"
	case !known && l.past.newest != nil && l.past.newest.product():
		found.why = "the plan's last migration has handed over, or its history can't be read"
	case known:
		found.origin = migration.OriginOurs
		found.why = "a run of this plan set the block, and its history shows that nothing removed it"
	case unseen:
		found.why = "no history tells who set the block, and the target can't be asked whether it has taken over"
	default:
		found.origin = migration.OriginPerhaps
		found.why = "index.blocks.write is set, and no history tells who set it"
	}
}

// takenOver tells which of the source's indices have one on the target that came from it and takes
// writes, and of which nobody can tell, and why. A restored index keeps the date at which the
// source created it.
func (l *search) takenOver(ctx context.Context, blocked map[string]elastic.Index) (taken, unseen map[string]bool,
	why error,
) {
	taken, unseen = map[string]bool{}, map[string]bool{}
	names := slices.Sorted(maps.Keys(blocked))
	client, why := l.cluster(ctx, onTarget, migration.Run{Plan: l.request.Plan})
	var there map[string]elastic.Index
	var unreadable map[string]error
	if why == nil {
		there, unreadable, why = look(ctx, client, names)
	}
	for _, name := range names {
		unseen[name] = why != nil || unreadable[name] != nil
	}
	for _, err := range unreadable {
		why = err
	}
	const created = "index.creation_date"
	for name, index := range there {
		taken[name] = index.Open && !hasOurBlock(index) && index.Settings[created] != "" &&
			index.Settings[created] == blocked[name].Settings[created]
	}
	return taken, unseen, why
}

// lookForThrottles finds limits that are not what the plan registers, or what stood there before.
func (l *search) lookForThrottles(ctx context.Context) error {
	for _, r := range l.registered {
		client, err := l.cluster(ctx, r.at, r.run)
		if err != nil {
			return err
		}
		setting, plan := snapshotThrottle, r.run.Plan.Source.Repository.Settings
		if r.at == onTarget {
			setting, plan = restoreThrottle, r.run.Plan.Target.Repository.Settings
		}
		want := ""
		if value, set := plan[setting]; set {
			want = fmt.Sprint(value)
		}
		now, err := repositorySetting(ctx, client, r.run.RepositoryName(), setting)
		if elastic.KindOf(err) == elastic.Missing || now == want && err == nil {
			continue
		}
		if err != nil {
			return err
		}
		l.found = append(l.found, remnant{
			kind: migration.RemainsThrottles, origin: migration.OriginOurs, token: r.run.Token,
			where: "repository " + r.run.RepositoryName() + " on the " + string(r.at) + " " + client.Host(),
			name:  setting + ": " + now, why: "the plan registers the repository with " + orNone(want),
			at: r.at, run: r.run, want: want,
		})
	}
	return l.lookForRecoveryThrottle(ctx)
}

func orNone(value string) string {
	if value == "" {
		return "no limit of its own"
	}
	return value
}

// lookForRecoveryThrottle looks at the one limit that is not in a repository of ours.
func (l *search) lookForRecoveryThrottle(ctx context.Context) error {
	plan := l.request.Plan
	client, err := l.cluster(ctx, onTarget, migration.Run{Plan: plan})
	if err != nil {
		return err
	}
	version, err := client.Version(ctx)
	if err != nil || !version.AtLeast(7, 9) {
		return err
	}
	settings, err := client.ClusterSettings(ctx)
	if permanent(err) {
		return l.warn("the target's cluster settings can't be read", err)
	}
	if err != nil {
		return err
	}
	now := settings.Transient[recoveryThrottle]
	if !slices.ContainsFunc([]migration.Throttle{plan.Throttles.Rounds.Recovery, plan.Throttles.Window.Recovery},
		func(t migration.Throttle) bool { value, set := t.Setting(); return set && value == now }) {
		return nil
	}
	found := remnant{
		kind: migration.RemainsThrottles, origin: migration.OriginPerhaps, where: "target " + client.Host(),
		name: "transient " + recoveryThrottle + ": " + now, at: onTarget, run: migration.Run{Plan: plan},
		why: "the plan raises it to that, and no history tells what stood there before: it becomes unset",
	}
	if before := l.throttlesBefore(); before != nil {
		if before.Transient == now {
			return nil
		}
		found.origin, found.want = migration.OriginOurs, before.Transient
		found.why = "a run of this plan raised it, and did not restore what stood there before: " + orNone(found.want)
	}
	if l.others {
		found.origin = migration.OriginPerhaps
		found.why += ". A repository of another plan's run is registered there: that run may need it"
	}
	l.found = append(l.found, found)
	return nil
}

// throttlesBefore is what the last run that raised the recovery throttle found.
func (l *search) throttlesBefore() *migration.RecoveryFound {
	var last *pastRun
	for _, run := range l.past.runs {
		if run.throttles != nil && run.throttles.Recovery != nil && (last == nil || run.began.After(last.began)) {
			last = run
		}
	}
	if last == nil {
		return nil
	}
	return last.throttles.Recovery
}
