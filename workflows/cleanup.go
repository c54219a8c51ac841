package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// undo removes everything that the rehearsal has made. What can't be removed keeps nothing else
// from being, and is named in the report. Any of it may be done already, because a cancellation on
// the way begins it again.
func (m *rehearsing) undo() {
	r, run := m.Rehearsal, m.forActivities()
	r.Remains = nil
	if !r.Prepared {
		return
	}
	m.stopSnapshot()
	m.restoreThrottles()
	restored := m.restoredAny()
	if restored {
		for _, name := range m.deleteIndices("delete the throw-away indices").Left {
			r.addRemains("target: index " + name + " has a rehearsal's name, and the rehearsal did not restore it. " +
				"Check it.")
		}
	}
	began := len(m.Rounds) > 0 || m.Attempt > 0
	if began {
		m.deleteSnapshots(run)
	}
	name := run.RepositoryName()
	remove[any](m, "unregister the repositories", migration.ActivityUnregisterRepositories, run,
		fmt.Sprintf("either cluster: the registered repository %s (on the target it holds the OSS key). "+
			"Send DELETE _snapshot/%s.", name, name))
	if restored {
		// A restore that a killed worker had asked for may have come after the first time. Without
		// the repository none can come any more.
		m.deleteIndices("make sure that the throw-away indices are gone")
	}
	if began {
		remove[migration.DeletedCopies](m, "delete the objects in OSS", migration.ActivityDeleteCopies, run,
			"OSS: the copies below "+m.plan.Target.Repository.Bucket+"/"+run.TargetBasePath()+"/. Delete that folder.")
	}
}

func (m *rehearsing) deleteIndices(step string) migration.DeletedIndices {
	return remove[migration.DeletedIndices](m, step, migration.ActivityDeleteRehearsedIndices, m.rehearsedIndices(),
		"target: the indices "+m.forActivities().TargetIndex("*")+", blocked for writes. Delete them.")
}

func (m *rehearsing) deleteSnapshots(run migration.Run) {
	folder := m.plan.Source.Repository.Bucket + "/" + run.SourceBasePath() + "/"
	deleted := remove[migration.DeletedSnapshots](m, "delete the snapshots", migration.ActivityDeleteSnapshots, run,
		"S3: the snapshots below "+folder+". Delete that folder.")
	const why = "Elasticsearch leaves them in a repository without snapshots, and the worker's key can't delete " +
		"them. Delete that folder."
	switch {
	case deleted.LeftObjects > 0:
		size := human.Size(deleted.LeftBytes)
		m.Rehearsal.addRemains(fmt.Sprintf("S3: %d objects (%s) below %s. %s", deleted.LeftObjects, size, folder, why))
	case deleted.Unseen != "":
		m.Rehearsal.addRemains(fmt.Sprintf("S3: perhaps some small objects below %s (they can't be listed: %s). %s",
			folder, deleted.Unseen, why))
	}
}

// remove is one step of the cleaning. otherwise says what remains if it fails.
func remove[T any](m *rehearsing, step, activity string, request any, otherwise string) T {
	m.step = step
	m.show(m.work)
	result, err := call[T](m.work, cleaning(step), activity, request)
	m.step = ""
	if err != nil && !m.stopping() {
		why := human.Shorten(describe(m.work, step, err, 1).Message, longestAttention)
		m.Rehearsal.addRemains(otherwise + " (" + why + ")")
	}
	return result
}

// cleaning is for removing what a rehearsal has made: nobody waits for it, a large snapshot takes
// its time to be deleted, and a cluster that is away may come back.
func cleaning(summary string) workflow.ActivityOptions {
	options := pollUntilDone(summary)
	options.ScheduleToCloseTimeout = 2 * time.Hour
	return options
}
