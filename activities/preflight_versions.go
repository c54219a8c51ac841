package activities

import (
	"fmt"
	"slices"
	"strings"

	"github.com/snapferry/snapferry/internal/elastic"
)

// majors are Elasticsearch's major versions in order: there is no 3 and no 4.
var majors = []int{1, 2, 5, 6, 7, 8, 9}

// alibabaVersions are the versions that Alibaba Cloud sells, oldest first. Source: its page "Overview"
// of versions and editions, as of 2026.
var alibabaVersions = []string{
	"5.5", "5.6", "6.3", "6.7", "6.8", "7.7", "7.10", "7.16", "8.5", "8.9", "8.13", "8.15", "8.17",
}

// oldestRestorable is the oldest major version whose indices a major version can hold: the one
// before.
func oldestRestorable(major int) int {
	if i := slices.Index(majors, major); i > 0 {
		return majors[i-1]
	}
	return major
}

// versionProblem says why the target can't restore snapshots of the source; empty if it can.
func versionProblem(source, target elastic.Info) string {
	from, to := source.Version, target.Version
	var rule string
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
		rule = fmt.Sprintf("the target runs %s, and snapferry restores to 5.0 and later", to)
	default:
		rule = versionRule(from, to)
	}
	if rule == "" {
		return ""
	}
	if fitting := alibabaFor(from, 0); fitting != "" {
		return fmt.Sprintf("%s. These versions of Alibaba Cloud fit: %s", rule, fitting)
	}
	return rule
}

// versionRule is the rule that keeps a version from restoring a snapshot of another one; empty if it
// can restore it. Sources: Elasticsearch's RestoreService.validateSnapshotRestorable for the order of
// versions, its documentation of snapshots for their distance.
func versionRule(from, to elastic.Version) string {
	switch {
	case from.Compare(to) > 0:
		return fmt.Sprintf("the source runs %s, the target %s: a snapshot can't be restored to an older version, "+
			"not even to an older patch level", from, to)
	case from.Major < oldestRestorable(to.Major):
		return fmt.Sprintf("the source runs %s, the target %s: a snapshot can be restored to the same or the next "+
			"major version only (5.x to 6.x, 6.x to 7.x, 7.x to 8.x)", from, to)
	}
	return ""
}

// createdProblem says why the target can't hold an index, given the version that created it as an
// id (index.version.created), and what to do; empty if it can.
func createdProblem(index string, created int, source, target elastic.Version) string {
	rule := createdRule(created, target)
	if rule == "" {
		return ""
	}
	way := "reindex it on the source into a new index"
	if fitting := alibabaFor(source, created); fitting != "" {
		way = fmt.Sprintf("choose a version of Alibaba Cloud that can (%s), or %s", fitting, way)
	}
	return fmt.Sprintf("index %s was created by Elasticsearch %s, %s: %s", index, elastic.VersionString(created), rule,
		way)
}

// createdRule is the rule that keeps a version from holding an index; empty if it can hold it.
// Source: Elasticsearch's IndexMetadataVerifier.checkSupportedVersion.
func createdRule(created int, target elastic.Version) string {
	oldest := oldestRestorable(target.Major)
	major, minor := created/1000000, created/10000%100
	switch {
	case created <= 0:
		return "" // unknown: the restore tells
	case major < oldest:
		return fmt.Sprintf("and %s holds only indices created by %d.0 or later", target, oldest)
	case elastic.NamesNoVersion(created) && target.AtLeast(8, 11):
		return "" // the restore tells
	case created > target.ID:
		return fmt.Sprintf("which is newer than the target's %s", target)
	case major == 6 && minor >= 8 && target.Major == 7 && target.Minor < 2:
		return fmt.Sprintf("which %s can't read: that takes 7.2 or later", target)
	}
	return ""
}

// alibabaFor lists the versions of Alibaba Cloud that can restore an index from the source; 0 is an
// index that the source itself created. Empty if there is none.
func alibabaFor(source elastic.Version, created int) string {
	var fitting []string
	for _, number := range alibabaVersions {
		// What Alibaba Cloud calls 7.10 may be any patch level of it.
		newest, err := elastic.ParseVersion(number + ".99")
		if err != nil || versionRule(source, newest) != "" || createdRule(created, newest) != "" {
			continue
		}
		if newest.Major == source.Major && newest.Minor == source.Minor && source.Patch > 0 {
			number += fmt.Sprintf(" if it is %s or later", source)
		}
		fitting = append(fitting, number)
	}
	return strings.Join(fitting, ", ")
}

// mostRecent is the newest version that Alibaba Cloud sells, and whose minor version the tests start.
const mostRecent = "8.17"

// untried says that nobody has tried snapferry with the target's version; empty if somebody has, or
// with a version near it.
func untried(target elastic.Version) string {
	switch {
	case target.Major < 8, target.Major == 8 && target.Minor == 17:
		return ""
	case target.AtLeast(8, 17):
		return fmt.Sprintf("the target runs %s, and snapferry knows Alibaba Cloud Elasticsearch up to %s: rehearse "+
			"the migration", target, mostRecent)
	}
	return fmt.Sprintf("the target runs %s. Of 8.x, snapferry was tried with %s only: rehearse the migration", target,
		mostRecent)
}
