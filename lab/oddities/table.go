package oddities

import (
	"fmt"
	"strings"
)

// Pair is a source's and a target's version.
type Pair struct{ Source, Target string }

// Pairs are those between which the catalogue is carried by tests.
var Pairs = []Pair{
	{"2.4.6", "5.5.3"},
	{"5.5.2", "5.5.3"},
	{"5.6.16", "6.8.23"},
	{"6.8.23", "7.10.2"},
	{"7.10.2", "7.17.28"},
	{"7.10.2", "8.17.2"},
}

// Versions are those of the clusters.
func (p Pair) Versions() (source, target Version, err error) {
	if source, err = ParseVersion(p.Source); err != nil {
		return source, target, err
	}
	target, err = ParseVersion(p.Target)
	return source, target, err
}

// Indices are those of the catalogue that have a fate between the versions of a pair.
func (p Pair) Indices(fate Fate) ([]Index, error) {
	source, target, err := p.Versions()
	if err != nil {
		return nil, err
	}
	var indices []Index
	for _, o := range Catalogue() {
		if o.Between(source, target) != fate {
			continue
		}
		for _, x := range o.Make(source) {
			x.Refusal = o.Refusal
			indices = append(indices, x)
		}
	}
	return indices, nil
}

// cell says what becomes of an oddity in a migration of the pair.
func (p Pair) cell(o Oddity) string {
	source, target, err := p.Versions()
	if err != nil {
		return err.Error()
	}
	return map[Fate]string{Carried: "yes", Refused: "refused", Untried: "?", Impossible: "-"}[o.Between(source, target)]
}

// Table is a page with a line for each oddity and a column for each pair.
func Table(pairs []Pair) string {
	var page strings.Builder
	page.WriteString(`# Compatibility: what indices look like, and what was carried

Each line is something that indices have in life. *yes* means that a test moved such indices between
these versions on real nodes, by a complete migration with documents written between the rounds, and
compared both clusters with code of its own: documents with type, id, routing, version and source,
mappings, settings, aliases, and what queries find. *refused* means that the source's node has a
module of Elasticsearch for it and the target's has not: the test saw that preflight refuses to begin,
and names the index, what the target lacks and what to do. A real cluster has all modules, but not
all plugins, and preflight finds those in the same way. A question mark means that the lab's source
lacks the module, so that nothing was tried: Maven Central doesn't have all modules of all versions
([lab/elasticsearch/README.md](../lab/elasticsearch/README.md)). A dash means that no new index of the
source's version can be so.

This page is generated from the catalogue in ` + "`lab/oddities`" + `: ` + "`make golden`" + ` writes it again,
and ` + "`make test-pairs`" + ` runs all pairs.

| what is odd |`)
	for _, pair := range pairs {
		fmt.Fprintf(&page, " %s to %s |", pair.Source, pair.Target)
	}
	page.WriteString(" |\n| --- |" + strings.Repeat(" --- |", len(pairs)+1) + "\n")
	for _, o := range Catalogue() {
		fmt.Fprintf(&page, "| %s |", o.Name)
		for _, pair := range pairs {
			fmt.Fprintf(&page, " %s |", pair.cell(o))
		}
		fmt.Fprintf(&page, " %s |\n", o.remark())
	}
	return page.String()
}

// remark says since when, until when, and what becomes of it.
func (o Oddity) remark() string {
	var remarks []string
	if o.From != (Version{}) {
		remarks = append(remarks, "from "+o.From.String()+" on")
	}
	if o.Until != (Version{}) {
		remarks = append(remarks, "before "+o.Until.String())
	}
	if o.Needs != "" {
		remarks = append(remarks, "module "+string(o.Needs))
	}
	if o.Note != "" {
		remarks = append(remarks, o.Note)
	}
	return strings.Join(remarks, "; ")
}
