package elastic

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/elastic/go-elasticsearch/v7/esapi"
)

// Version is an Elasticsearch version, e.g. 5.5.2.
type Version struct {
	Number              string // as the cluster gives it, e.g. "5.5.2" or "6.0.0-beta1"
	Major, Minor, Patch int
	// ID is Elasticsearch's own number: major*1000000 + minor*10000 + patch*100 + build, where
	// build 99 is a release. So 5050299 is 5.5.2. Compare it with Index.CreatedVersion and
	// SnapshotInfo.VersionID.
	ID int
}

// String is the number as the cluster gives it.
func (v Version) String() string { return v.Number }

// AtLeast reports whether v is major.minor or later.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Compare is negative if v is older than w, 0 if they are equal, positive if v is newer. Patch
// level and qualifier count.
func (v Version) Compare(w Version) int { return cmp.Compare(v.ID, w.ID) }

var versionPattern = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)(?:-(alpha|beta|rc)(\d+))?(?:-SNAPSHOT)?$`)

// ParseVersion reads "5.5.2", "6.0.0-beta1" or "7.10.2-SNAPSHOT".
func ParseVersion(number string) (Version, error) {
	m := versionPattern.FindStringSubmatch(number)
	if m == nil {
		return Version{}, fmt.Errorf("%q isn't an Elasticsearch version", number)
	}
	n := func(i int) int { v, _ := strconv.Atoi(m[i]); return v }
	v := Version{Number: number, Major: n(1), Minor: n(2), Patch: n(3)}
	build := 99
	switch m[4] {
	case "alpha":
		build = n(5)
	case "beta":
		build = 25 + n(5)
	case "rc":
		build = 50 + n(5)
	}
	v.ID = v.Major*1000000 + v.Minor*10000 + v.Patch*100 + build
	return v, nil
}

const (
	openSearchBit     = 0x08000000 // set in all of OpenSearch's ids
	firstIndexVersion = 8500000    // from here on, 8.11 and later, ids are opaque
)

// NamesNoVersion tells whether an id such as index.version.created is one of Elasticsearch 8.11 or
// later. Such ids count changes of the index format: they can't be compared with a [Version]'s.
func NamesNoVersion(id int) bool { return id&openSearchBit == 0 && id >= firstIndexVersion }

// VersionString is the version behind an id such as index.version.created: 5050299 is "5.5.2". Ids
// of OpenSearch and of Elasticsearch 8.11 and later say so.
func VersionString(id int) string {
	switch {
	case id <= 0:
		return "unknown"
	case id&openSearchBit != 0:
		return "OpenSearch " + VersionString(id&^openSearchBit)
	case NamesNoVersion(id):
		return fmt.Sprintf("8.11 or later (index version %d)", id)
	}
	number := fmt.Sprintf("%d.%d.%d", id/1000000, id/10000%100, id/100%100)
	switch build := id % 100; {
	case build < 25:
		return fmt.Sprintf("%s-alpha%d", number, build)
	case build < 50:
		return fmt.Sprintf("%s-beta%d", number, build-25)
	case build < 99:
		return fmt.Sprintf("%s-rc%d", number, build-50)
	}
	return number
}

// Info is what a cluster tells about itself.
type Info struct {
	ClusterName string
	ClusterUUID string // empty before 5.0
	Version     Version
	// Distribution is "elasticsearch" or "opensearch". OpenSearch in compatibility mode reports
	// version 7.10.2, but its tagline still tells the two apart.
	Distribution string
	BuildFlavor  string // "default" or "oss" from 6.3 on, else empty; Amazon's 7.x is "oss"
}

// Info asks the cluster for its name and version.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var answer struct {
		ClusterName string `json:"cluster_name"`
		ClusterUUID string `json:"cluster_uuid"`
		Tagline     string `json:"tagline"`
		Version     struct {
			Number       string `json:"number"`
			BuildFlavor  string `json:"build_flavor"`
			Distribution string `json:"distribution"`
		} `json:"version"`
	}
	what := call{operation: "read version"}
	if err := c.do(ctx, what, esapi.InfoRequest{}, &answer); err != nil {
		return Info{}, err
	}
	version, err := ParseVersion(answer.Version.Number)
	if err != nil {
		return Info{}, c.fail(what, Internal, err.Error())
	}
	info := Info{
		ClusterName: answer.ClusterName, ClusterUUID: answer.ClusterUUID, Version: version,
		Distribution: answer.Version.Distribution, BuildFlavor: answer.Version.BuildFlavor,
	}
	if info.Distribution == "" {
		info.Distribution = "elasticsearch"
		if strings.Contains(answer.Tagline, "OpenSearch") {
			info.Distribution = "opensearch"
		}
	}
	c.version.Store(&version)
	return info, nil
}

// Version is the cluster's version. It asks the cluster once and keeps the answer.
func (c *Client) Version(ctx context.Context) (Version, error) {
	if known := c.version.Load(); known != nil {
		return *known, nil
	}
	info, err := c.Info(ctx)
	return info.Version, err
}
