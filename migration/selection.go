package migration

import "strings"

// Exclusion begins an entry of the plan's indices that leaves out what patterns match.
const Exclusion = "-"

// IndexSelection is a plan's list of indices by kind.
type IndexSelection struct {
	Names, Patterns []string
	// Excluded are names and patterns, without the sign. They concern what patterns match only.
	Excluded []string
}

// Selection sorts the plan's indices.
func (p Plan) Selection() (s IndexSelection) {
	for _, entry := range p.Indices {
		excluded, isExcluded := strings.CutPrefix(entry, Exclusion)
		switch {
		case isExcluded:
			s.Excluded = append(s.Excluded, excluded)
		case strings.Contains(entry, "*"):
			s.Patterns = append(s.Patterns, entry)
		default:
			s.Names = append(s.Names, entry)
		}
	}
	return s
}
