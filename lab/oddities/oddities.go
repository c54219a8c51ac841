// Package oddities is a catalogue of indices as people have them: with aliases that filter, names that
// need escaping, settings of a vendor, several mapping types. [Load] makes them on a cluster, and
// [Compare] tells how an index differs between two clusters. It asks both itself, and shares no
// code with what snapferry verifies: a mistake in one of them is not made twice.
//
// [Table] says which of them a migration between two versions carries. docs/compatibility.md holds it.
package oddities

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a version of Elasticsearch up to its minor number.
type Version struct{ Major, Minor int }

// ParseVersion reads the first two numbers of a version such as 5.5.2.
func ParseVersion(text string) (Version, error) {
	parts := strings.Split(text, ".")
	if len(parts) < 2 {
		return Version{}, fmt.Errorf("%q is no version", text)
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return Version{}, fmt.Errorf("%q is no version: %w", text, err)
	}
	minor, err := strconv.Atoi(parts[1])
	if err != nil {
		return Version{}, fmt.Errorf("%q is no version: %w", text, err)
	}
	return Version{major, minor}, nil
}

// Before tells whether v is older than w.
func (v Version) Before(w Version) bool {
	return v.Major < w.Major || v.Major == w.Major && v.Minor < w.Minor
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Oddity is one way in which indices are odd.
type Oddity struct {
	// Name is its line in the table.
	Name string
	// From is the first version whose new indices can be so, Until the first that can't any more.
	// The zero value stands for no bound.
	From, Until Version
	// Lacks says what the lab's nodes lack for it; then it is not tried.
	Lacks string
	// Note says what becomes of it, if it isn't simply carried.
	Note string
	// Make gives the indices for a version.
	Make func(Version) []Index
}

// Index is an index of the source, made in this order: pipelines, the index, documents, and what
// comes then.
type Index struct {
	Name      string
	Pipelines []string // on both clusters
	Settings  map[string]any
	// Mapping is that of the only type, Types are those of several.
	Mapping map[string]any
	Types   map[string]map[string]any
	Aliases map[string]any
	Docs    []Doc
	Then    []Request
	// Late is written after the first round.
	Late []Doc
	// Queries are asked of both clusters. Each must find something on the source.
	Queries []Query
	// Stays says that it is left on the source.
	Stays bool
	// Lost are settings that the target doesn't get, by flat name; a star at the end stands for any
	// characters.
	Lost []string
	// MadeBy says that Then of an index before it has made this one.
	MadeBy bool
}

// Query is a search.
type Query struct {
	Body map[string]any
	// Until is the first version of a target of which the lab's nodes lack what it takes.
	Until Version
}

// Doc is a document.
type Doc struct {
	Type, ID, Routing, Parent string
	// Version is external; 0 lets the cluster count.
	Version int64
	Source  map[string]any
}

// Request is sent as it is. The path is escaped already.
type Request struct {
	Method, Path string
	Body         any
}

// On tells whether a cluster of this version can have it, and why not.
func (o Oddity) On(v Version) (can bool, why string) {
	switch {
	case o.Lacks != "":
		return false, "not tried: the lab's nodes lack " + o.Lacks
	case v.Before(o.From):
		return false, "from " + o.From.String() + " on"
	case o.Until != (Version{}) && !v.Before(o.Until):
		return false, "before " + o.Until.String()
	}
	return true, ""
}
