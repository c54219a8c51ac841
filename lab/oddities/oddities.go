// Package oddities is a catalogue of indices as people have them: with aliases that filter, names that
// need escaping, settings of a vendor, several mapping types. [Load] makes them on a cluster, and
// [Compare] tells how an index differs between two clusters. It asks both itself, and shares no
// code with what snapferry verifies: a mistake in one of them is not made twice.
//
// [Table] says which of them a migration between two versions carries. docs/compatibility.md holds it.
package oddities

import (
	"fmt"
	"slices"
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
	// Needs is the module of Elasticsearch that has it, if not all of the lab's nodes have that.
	Needs Module
	// Refusal is what preflight says of each of its indices where the target lacks the module.
	Refusal string
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
	// Refusal is what preflight says of it, if the target lacks a module for it.
	Refusal string
	// MadeBy says that Then of an index before it has made this one.
	MadeBy bool
}

// Query is a search.
type Query struct{ Body map[string]any }

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

// Module is a part of Elasticsearch that some versions of the lab's nodes lack, since Maven Central
// does (lab/elasticsearch/README.md). Where it is in the server itself, no node lacks it.
type Module string

const (
	parentJoin     Module = "parent-join"
	percolation    Module = "percolator"
	mapperExtras   Module = "mapper-extras"
	analysisCommon Module = "analysis-common"
	ingestCommon   Module = "ingest-common"
	geo            Module = "geo"
)

// lacking are the versions of the lab's nodes without a module.
var lacking = map[Module][]Version{
	parentJoin: {{8, 17}}, percolation: {{8, 17}}, mapperExtras: {{6, 8}, {8, 17}},
	analysisCommon: {{6, 8}, {7, 17}, {8, 17}}, ingestCommon: {{2, 4}, {5, 5}, {5, 6}, {7, 17}, {8, 17}},
	geo: {{7, 10}, {7, 17}, {8, 17}},
}

// Has tells whether the lab's node of a version has a module.
func (v Version) Has(m Module) bool { return !slices.Contains(lacking[m], v) }

// Fate is what becomes of an oddity in a migration.
type Fate int

const (
	Impossible Fate = iota // no new index of the source's version can be so
	Untried                // the lab's source lacks a module
	Refused                // by preflight, since the target lacks a module
	Carried
)

// Between tells what becomes of it in a migration between two versions.
func (o Oddity) Between(source, target Version) Fate {
	switch {
	case source.Before(o.From), o.Until != (Version{}) && !source.Before(o.Until):
		return Impossible
	case !source.Has(o.Needs):
		return Untried
	case !target.Has(o.Needs):
		return Refused
	}
	return Carried
}
