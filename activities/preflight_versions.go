package activities

import (
	"fmt"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
)

// majors are Elasticsearch's major versions in order: there is no 3 and no 4.
var majors = []int{1, 2, 5, 6, 7, 8}

// oldestRestorable is the oldest major version whose indices a major version can hold: the one
// before.
func oldestRestorable(major int) int {
	if i := slices.Index(majors, major); i > 0 {
		return majors[i-1]
	}
	return major
}

// versionProblem says why the target can't restore snapshots of the source; empty if it can.
// Sources: Elasticsearch's RestoreService.validateSnapshotRestorable for the order of versions, its
// documentation of snapshots for their distance.
func versionProblem(source, target elastic.Info) string {
	from, to := source.Version, target.Version
	switch {
	case source.Distribution == "opensearch":
		return fmt.Sprintf("the source runs OpenSearch %s: Elasticsearch can't restore snapshots of OpenSearch", from)
	case target.Distribution == "opensearch":
		return fmt.Sprintf("the target runs OpenSearch %s: snapferry restores to Elasticsearch only", to)
	case from.Major < 2:
		// Only 2.x restores its snapshots, and Alibaba Cloud doesn't offer 2.x. Their layout
		// differs, too.
		return fmt.Sprintf("the source runs %s, and snapferry copies snapshots of 2.0 and "+
			"later: upgrade the source to 2.x first", from)
	case to.Major < 5:
		return fmt.Sprintf("the target runs %s, and snapferry restores to 5.0 and later: use a newer target", to)
	case from.Compare(to) > 0:
		return fmt.Sprintf("the source runs %s, the target %s: a snapshot can't be restored to an older version, "+
			"not even to an older patch level", from, to)
	case from.Major < oldestRestorable(to.Major):
		return fmt.Sprintf("the source runs %s, the target %s: a snapshot can be restored to the same or the next "+
			"major version only "+
			"(5.x to 6.x, 6.x to 7.x): migrate to a cluster of the version between first", from, to)
	}
	return ""
}

// createdProblem says why the target can't hold an index, given the version that created it as an
// id (index.version.created); empty if it can.
func createdProblem(index string, created int, target elastic.Version) string {
	oldest := oldestRestorable(target.Major)
	major, minor := created/1000000, created/10000%100
	switch {
	case created <= 0:
		return "" // unknown: the restore tells
	case major < oldest:
		return fmt.Sprintf("index %s was created by Elasticsearch %s, and %s holds only "+
			"indices created by %d.0 or later: "+
			"reindex it on the source into a new index", index, elastic.VersionString(created), target, oldest)
	case created > target.ID:
		return fmt.Sprintf("index %s was created by Elasticsearch %s, which is newer than the target's %s", index,
			elastic.VersionString(created), target)
	case major == 6 && minor >= 8 && target.Major == 7 && target.Minor < 2:
		return fmt.Sprintf("index %s was created by Elasticsearch %s, which %s can't "+
			"read: the target must be 7.2 or later", index, elastic.VersionString(created), target)
	}
	return ""
}
