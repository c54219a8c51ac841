package activities

import (
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
)

// majors are Elasticsearch's major versions in order: there is no 3 and no 4.
var majors = []int{1, 2, 5, 6, 7, 8}

// oldestRestorable is the oldest major version whose indices a major version
// can hold: the one before.
func oldestRestorable(major int) int {
	if i := slices.Index(majors, major); i > 0 {
		return majors[i-1]
	}
	return major
}

// versionProblem says why no snapshot of the source can be restored on the
// target, or nothing. Elasticsearch: RestoreService.validateSnapshotRestorable
// for the order, its documentation for the distance.
func versionProblem(source, target elastic.Info) string {
	from, to := source.Version, target.Version
	switch {
	case source.Distribution == "opensearch":
		return fmt.Sprintf("the source runs OpenSearch (%s): Elasticsearch restores no snapshots of OpenSearch", from)
	case target.Distribution == "opensearch":
		return fmt.Sprintf("the target runs OpenSearch (%s) and not Elasticsearch", to)
	case from.Major < 2:
		// Only 2.x restores its snapshots, which Alibaba Cloud doesn't have; and their layout is another still.
		return fmt.Sprintf("the source runs %s: snapferry copies snapshots of 2.0 and later; upgrade the source to 2.x first", from)
	case to.Major < 5:
		return fmt.Sprintf("the target runs %s: snapferry restores on 5.0 and later", to)
	case from.Compare(to) > 0:
		return fmt.Sprintf("the source runs %s, the target %s: a snapshot can't be restored on an older version, not even on an older patch level", from, to)
	case from.Major < oldestRestorable(to.Major):
		return fmt.Sprintf("the source runs %s, the target %s: a snapshot can be carried to the same or the next major version (5.x to 6.x, 6.x to 7.x), never past one; go through a cluster of the version between", from, to)
	}
	return ""
}

// createdProblem says why the target can't hold an index that was created by
// the version behind the id index.version.created, or nothing.
func createdProblem(index string, created int, target elastic.Version) string {
	oldest := oldestRestorable(target.Major)
	major, minor := created/1000000, created/10000%100
	switch {
	case created <= 0:
		return "" // not told: the restore will say
	case major < oldest:
		return fmt.Sprintf("index %s was created by Elasticsearch %s; %s holds only indices created by %d.0 or later: reindex it on the source, so that it is created anew", index, elastic.VersionString(created), target, oldest)
	case created > target.ID:
		return fmt.Sprintf("index %s was created by Elasticsearch %s, which is later than the target's %s", index, elastic.VersionString(created), target)
	case major == 6 && minor >= 8 && target.Major == 7 && target.Minor < 2:
		return fmt.Sprintf("index %s was created by Elasticsearch %s, which %s doesn't know yet: it needs 7.2 or later", index, elastic.VersionString(created), target)
	}
	return ""
}
