package report

import (
	"cmp"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// shownFindings is how many findings of a kind fit on a page.
const shownFindings = 10

// AuditPage prints what an audit has found as a page for the Temporal UI, in Markdown.
func AuditPage(r migration.AuditReport) string {
	var page lines
	if r.Whole {
		page.add("**Complete**: OSS holds everything that %d snapshots need, equal to S3.", r.SnapshotsChecked)
	} else {
		page.add("**Not complete**: %d of %d snapshots are broken.", r.SnapshotsBroken, r.SnapshotsChecked)
	}
	for _, problem := range r.Problems {
		page.add("\n- %s", problem)
	}
	page.add("\nRoot: %s in S3, %s in OSS.", cmp.Or(r.SourceRoot, "none"), cmp.Or(r.TargetRoot, "none"))
	page.add("\n| kind | in S3 | in OSS | needed | proven | missing or different |\n|---|---|---|---|---|---|")
	for _, c := range r.Classes {
		page.add("| %s | %s | %s | %s, %s | %s | %s |", c.Class, human.Count(c.Source.Blobs),
			human.Count(c.Target.Blobs),
			human.Count(c.Needed.Blobs), human.Size(c.Needed.Bytes), human.Count(c.Proven.Blobs), human.Count(c.Bad))
	}
	page.findings("missing", r.Missing)
	page.findings("different", r.Different)
	page.findings("surplus", r.Surplus)
	return human.Visible(page.String())
}

func (l *lines) findings(kind string, found migration.AuditFindings) {
	if found.Blobs == 0 {
		return
	}
	l.add("\n%s %s, %s of them harmless:\n", human.Count(found.Blobs), kind, human.Count(found.Harmless))
	for i, f := range found.Examples {
		if i == shownFindings {
			l.add("- ...")
			break
		}
		l.add("- `%s`: %s", f.Key, f.Reason)
	}
}
