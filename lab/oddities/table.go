package oddities

import (
	"fmt"
	"strings"
)

// Pair is a source's and a target's version.
type Pair struct{ Source, Target string }

// Pairs are those between which the catalogue is carried by tests.
var Pairs = []Pair{
	{"2.4.6", "5.5.3"}, {"5.5.2", "5.5.3"}, {"5.5.2", "6.8.23"}, {"6.8.23", "7.10.2"}, {"7.10.2", "7.17.28"},
}

// Carried are the indices of the catalogue that the source of a pair can have.
func (p Pair) Carried() (v Version, indices []Index, err error) {
	if v, err = ParseVersion(p.Source); err != nil {
		return v, nil, err
	}
	for _, oddity := range Catalogue() {
		if can, _ := oddity.On(v); can {
			indices = append(indices, oddity.Make(v)...)
		}
	}
	return v, indices, nil
}

// cell says what becomes of an oddity in a migration of the pair.
func (p Pair) cell(o Oddity) string {
	v, err := ParseVersion(p.Source)
	if err != nil {
		return err.Error()
	}
	if can, _ := o.On(v); !can {
		return "-"
	}
	return "yes"
}

// Table is a page with a line for each oddity and a column for each pair.
func Table(pairs []Pair) string {
	var page strings.Builder
	page.WriteString(`# Compatibility: what indices look like, and what was carried

Each line is something that indices have in life. *yes* means that a test moved such indices between
these versions on real nodes, by a complete migration with documents written between the rounds, and
compared both clusters with code of its own: documents with type, id, routing, version and source,
mappings, settings, aliases, and what queries find. A dash means that no new index of the source's
version can be so.

This page is generated from the catalogue in ` + "`lab/oddities`" + `: ` + "`make golden`" + ` writes it again,
and ` + "`make test-pairs`" + ` runs all pairs.

| what is odd |`)
	for _, pair := range pairs {
		fmt.Fprintf(&page, " %s to %s |", pair.Source, pair.Target)
	}
	page.WriteString(" |\n| --- |" + strings.Repeat(" --- |", len(pairs)+1) + "\n")
	var lacking []Oddity
	for _, o := range Catalogue() {
		if o.Lacks != "" {
			lacking = append(lacking, o)
			continue
		}
		fmt.Fprintf(&page, "| %s |", o.Name)
		for _, pair := range pairs {
			fmt.Fprintf(&page, " %s |", pair.cell(o))
		}
		fmt.Fprintf(&page, " %s |\n", o.remark())
	}
	page.WriteString("\nNot tried, since the lab's nodes lack what it takes:\n\n")
	for _, o := range lacking {
		fmt.Fprintf(&page, "- %s: %s\n", o.Name, o.Lacks)
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
	if o.Note != "" {
		remarks = append(remarks, o.Note)
	}
	return strings.Join(remarks, "; ")
}
