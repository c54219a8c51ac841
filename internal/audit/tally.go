package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/sides"
	"github.com/snapferry/snapferry/migration"
)

// longestReason bounds the bytes of a finding's reason: an answer of a service may be quoted in it.
const longestReason = 1000

// tally counts objects and keeps what was found of them. Many goroutines use it at the same time.
type tally struct {
	progress func(change func(*migration.Progress))

	mu      sync.Mutex
	report  migration.AuditReport
	classes map[repository.Class]*migration.AuditClass
	broken  map[int]bool // by number of the snapshot
}

func newTally(request migration.AuditRequest, progress func(change func(*migration.Progress))) *tally {
	return &tally{
		progress: progress,
		report: migration.AuditReport{
			Plan: request.Plan.Name, Token: request.Token, Snapshot: request.Snapshot, Deep: request.Deep,
			SourceGeneration: -1, TargetGeneration: -1,
		},
		classes: map[repository.Class]*migration.AuditClass{}, broken: map[int]bool{},
	}
}

// problem adds a sentence about the complete repository.
func (t *tally) problem(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Problems = append(t.report.Problems, fmt.Sprintf(format, args...))
}

// problemOnce is problem for a sentence that may be there already.
func (t *tally) problemOnce(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if problem := fmt.Sprintf(format, args...); !slices.Contains(t.report.Problems, problem) {
		t.report.Problems = append(t.report.Problems, problem)
	}
}

// read counts bytes that a deep audit has read from OSS.
func (t *tally) read(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.BytesRead += bytes
}

func (t *tally) inClass(class repository.Class, count func(*migration.AuditClass)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.classes[class] == nil {
		t.classes[class] = &migration.AuditClass{Class: class.String()}
	}
	count(t.classes[class])
}

// count counts a needed object on the sides that have it.
func (t *tally) count(n *need) {
	t.inClass(n.class, func(c *migration.AuditClass) {
		c.Needed.Add(n.size())
		countSides(c, n.Pair)
	})
}

func countSides(c *migration.AuditClass, pair sides.Pair) {
	if pair.Source != nil {
		c.Source.Add(pair.Source.Size)
	}
	if pair.Target != nil {
		c.Target.Add(pair.Target.Size)
	}
}

// proven says that an object in OSS is what it must be.
func (t *tally) proven(n *need) {
	t.inClass(n.class, func(c *migration.AuditClass) { c.Proven.Add(n.size()) })
	t.done(n)
}

type findingKind int

const (
	missing findingKind = iota + 1
	different
)

// bad says that an object in OSS is not what it must be.
func (t *tally) bad(n *need, kind findingKind, reason string) {
	harmless := n.optional
	if harmless {
		reason += "; no restore reads it"
	}
	t.inClass(n.class, func(c *migration.AuditClass) {
		c.Bad++
		findings := &t.report.Missing
		if kind == different {
			findings = &t.report.Different
		}
		add(findings, n.Pair, n.class, n.size(), reason, harmless)
		if !harmless {
			for _, s := range n.snapshots {
				t.broken[s] = true
			}
		}
	})
	t.done(n)
}

// surplus says that an object in OSS is there, and that no audited snapshot needs it.
func (t *tally) surplus(pair sides.Pair, class repository.Class, reason string, harmless bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	add(&t.report.Surplus, pair, class, pair.Target.Size, reason, harmless)
}

func (t *tally) done(n *need) {
	t.progress(func(p *migration.Progress) {
		p.BlobsDone++
		p.BytesDone += n.size()
	})
}

// unneeded counts an object that no audited snapshot needs, and says why it is there.
func (j *job) unneeded(pair sides.Pair) {
	k := repository.Classify(pair.Key)
	if k.Class == repository.ClassTemporary {
		return
	}
	j.inClass(k.Class, func(c *migration.AuditClass) { countSides(c, pair) })
	if pair.Target == nil {
		return
	}
	switch {
	case k.Class == repository.ClassRootIndex && k.Generation > j.from.Generation:
		j.surplus(pair, k.Class, "a cluster reads the highest root, and S3 doesn't have it", false)
	case k.Class == repository.ClassRootIndex:
		j.surplus(pair, k.Class, "an older root, which no cluster reads", true)
	case k.Class == repository.ClassShardIndex && pair.Same():
		// The shard's current one: writers read it.
	case k.Class == repository.ClassShardIndex:
		j.surplus(pair, k.Class, "only writers read the list of a shard's snapshots", true)
	case k.Class == repository.ClassUnknown:
		j.surplus(pair, k.Class, foreignObject, true)
	default:
		j.surplus(pair, k.Class, "no listed snapshot needs it", true)
	}
}

const foreignObject = "Elasticsearch neither writes nor reads such an object; find out who wrote it"

// foreign counts objects of OSS that stand where Elasticsearch has none.
func (j *job) foreign(objects []objectstore.Object) {
	for _, o := range objects {
		j.unneeded(sides.Pair{Key: o.Key, Target: &o})
	}
}

func add(
	to *migration.AuditFindings, pair sides.Pair, class repository.Class, size int64, reason string, harmless bool,
) {
	to.Add(size)
	if harmless {
		to.Harmless++
	}
	f := migration.AuditFinding{
		Key: pair.Key, Class: class.String(), Reason: human.Shorten(reason, longestReason), Harmless: harmless,
		SourceBytes: -1, TargetBytes: -1,
	}
	if pair.Source != nil {
		f.SourceBytes = pair.Source.Size
	}
	if pair.Target != nil {
		f.TargetBytes = pair.Target.Size
	}
	to.Examples = append(to.Examples, f)
	if len(to.Examples) > 2*migration.AuditExamples {
		tidy(to)
	}
}

// tidy keeps the first examples, harmful ones before harmless ones.
func tidy(findings *migration.AuditFindings) {
	slices.SortFunc(findings.Examples, func(a, b migration.AuditFinding) int {
		if a.Harmless != b.Harmless {
			if a.Harmless {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Key, b.Key)
	})
	if len(findings.Examples) > migration.AuditExamples {
		findings.Examples = slices.Clone(findings.Examples[:migration.AuditExamples])
	}
}

// sumUp completes the report. The snapshots are those that were audited.
func (t *tally) sumUp(snapshots []snapshot) {
	r := &t.report
	for _, findings := range []*migration.AuditFindings{&r.Missing, &r.Different, &r.Surplus} {
		tidy(findings)
	}
	r.SnapshotsBroken = len(t.broken)
	for _, n := range slices.Sorted(maps.Keys(t.broken)) {
		if len(r.Broken) < migration.AuditSnapshots {
			r.Broken = append(r.Broken, snapshots[n].Name)
		}
	}
	classes := slices.SortedFunc(maps.Keys(t.classes), func(a, b repository.Class) int {
		return cmp.Or(cmp.Compare(stage(a), stage(b)), cmp.Compare(a, b))
	})
	for _, class := range classes {
		r.Classes = append(r.Classes, *t.classes[class])
	}
	r.Whole = len(r.Problems) == 0 && r.Missing.Harmful()+r.Different.Harmful()+r.Surplus.Harmful() == 0
}

// stage orders classes as the copy publishes them; those that it never publishes come last.
func stage(class repository.Class) repository.Stage {
	if stage := class.Stage(); stage != repository.StageNone {
		return stage
	}
	return repository.StageLatest + 1
}
