package workflows

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// Most of a migration happens without a window: each question has an answer then.
func TestTheQuestionsAboutNoWindow(t *testing.T) {
	m := &run{}
	require.False(t, m.frozen())
	require.False(t, m.window.armed())
	require.False(t, m.window.mayBlock())
	require.False(t, m.window.blocked())
	require.False(t, m.window.expired())
	require.Nil(t, m.window.result())
	_, verified := m.window.verdict("movies")
	require.False(t, verified)
	m.window.disarm()
}

func TestTheWindowKnowsWhatItHasMet(t *testing.T) {
	one, two := migration.Index{Name: "movies", UUID: "u1"}, migration.Index{Name: "catalog", UUID: "u2"}
	w := &window{found: migration.Blocks{}, uuids: map[string]string{}, indices: listed(one)}
	require.Equal(t, []string{"movies"}, w.fresh(w.indices))
	warnings := w.remember(migration.Blocks{"movies": {
		"index.blocks.write":     "false",
		"index.blocks.read_only": "true",
	}})
	require.Len(t, warnings, 1, "only a block that is set is worth a word")
	require.Contains(t, warnings[0], "index.blocks.read_only")
	require.True(t, w.mayBlock())
	require.Empty(t, w.fresh(listed(one)))
	require.Equal(t, []string{"catalog"}, w.fresh(listed(one, two)))
	require.True(t, w.holds(listed(one)))
	require.False(t, w.holds(listed(one, two)))
	one.UUID = "u3" // deleted and created again
	require.Equal(t, []string{"movies"}, w.fresh(listed(one)))
	require.False(t, w.holds(listed(one)))
}

// The first request for the block begins the window; a later pass of the freeze begins none.
func TestTheBlockBeginsTheWindowOnce(t *testing.T) {
	w := &window{proven: true}
	w.again(stopwatch{beganMillis: 5})
	require.False(t, w.proven, "what was proven is in doubt")
	require.False(t, w.blocked())
	w.block(stopwatch{beganMillis: 7})
	w.again(stopwatch{beganMillis: 9})
	w.block(stopwatch{beganMillis: 11})
	require.True(t, w.blocked())
	require.EqualValues(t, 7, w.sinceMillis)
	require.EqualValues(t, 7, w.measured.StartedMillis)
	require.Equal(t, stopwatch{beganMillis: 9}, w.pass)
}

// An update leaves the counts as they are, and changes a mark.
func TestTheWindowSeesWhatWasWritten(t *testing.T) {
	stood := migration.Standstill{
		Docs:  migration.ShardDocs{"catalog": {1, 2}, "movies": {3}},
		Marks: migration.ShardMarks{"catalog": {"a", "b"}, "movies": {"c"}},
	}
	w := &window{frozen: stood}
	require.Empty(t, w.written(stood))
	moved := stood
	moved.Marks = migration.ShardMarks{"catalog": {"a", "b"}, "movies": {"d"}}
	require.Equal(t, "movies", w.written(moved))
	moved = stood
	moved.Docs = migration.ShardDocs{"catalog": {1, 3}, "movies": {3}}
	require.Equal(t, "catalog", w.written(moved))
}

func TestARestoreThatIsUnderWayLeavesTheTargetInDoubt(t *testing.T) {
	var target targetState
	require.Equal(t, published{Generation: -1}, target.base())
	movies := listed(migration.Index{Name: "movies"})
	target.beginRestore(movies)
	target.beginRestore(movies) // a retry
	require.True(t, target.RestoreInDoubt)
	require.Equal(t, []string{"movies"}, target.Begun)
	require.True(t, target.restoredAny())
	target.keep(migration.OpenResult{Counters: migration.WriteCounters{"movies": {Docs: 7}}})
	target.endRestore()
	require.False(t, target.RestoreInDoubt)
	require.Empty(t, target.Begun)
	require.EqualValues(t, 7, target.docs(movies))
	gone, notHot := target.leftBehind(movies, nil)
	require.Empty(t, gone+notHot)
	gone, notHot = target.leftBehind(listed(), nil)
	require.Equal(t, []string{"movies", ""}, []string{gone, notHot})
	gone, notHot = target.leftBehind(listed(), migration.NewNotHot([]string{"movies"}, nil, migration.Plan{}))
	require.Equal(t, []string{"", "movies"}, []string{gone, notHot})
}

func listed(indices ...migration.Index) migration.IndexList { return migration.ListIndices(indices) }

// A status names a few of very many indices: those that are not equal first, then those that the
// target lacks.
func TestTheStatusNamesFirstWhatMatters(t *testing.T) {
	m := &run{}
	m.Counters = migration.WriteCounters{}
	var indices []migration.Index
	for i := range 3 * migration.StatusIndices {
		name := fmt.Sprintf("logs-%03d", i)
		indices = append(indices, migration.Index{Name: name})
		m.Counters[name] = migration.Counter{}
	}
	shown := func() []string { return migration.IndexNames(m.shownIndices()) }
	m.Indices = migration.ListIndices(indices)
	require.Equal(t, migration.IndexNames(indices[:migration.StatusIndices]), shown())

	delete(m.Counters, "logs-140")
	m.window = &window{verified: []migration.IndexResult{
		{Name: "logs-000", Equal: true}, {Name: "logs-120"}, {Name: "logs-149"},
	}}
	require.Equal(t, []string{"logs-120", "logs-149", "logs-140", "logs-000", "logs-001"}, shown()[:5])
	require.Len(t, shown(), migration.StatusIndices)

	// Of a list that lies in OSS only the first are known, and what was found unequal.
	m.Indices.Inline = nil
	m.Indices.About = &migration.AboutIndices{Count: len(indices), First: indices[:60]}
	require.Equal(t, []string{"logs-120", "logs-149", "logs-000"}, shown()[:3])
}
