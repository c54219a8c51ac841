package activities

import (
	"fmt"

	"github.com/snapferry/snapferry/internal/human"
	"github.com/snapferry/snapferry/migration"
)

// The result of an activity must fit into a payload, however many indices and shards differ.
const (
	mostDifferences   = 10  // of an index
	longestDifference = 300 // in bytes: a setting may hold a list of synonyms
	mostUnequal       = 100 // indices in the details of an error
)

// few bounds the differences of an index. Those that matter most come first.
func few(differences []string) []string {
	bounded := make([]string, 0, min(len(differences), mostDifferences))
	for _, difference := range differences {
		if len(bounded) == mostDifferences-1 && len(differences) > mostDifferences {
			return append(bounded, fmt.Sprintf("%d more differences", len(differences)-len(bounded)))
		}
		bounded = append(bounded, human.Shorten(difference, longestDifference))
	}
	return bounded
}

// boundedResult keeps the verdicts that have room in so many bytes, or all if most is 0.
func boundedResult(verdicts []migration.IndexResult, most int) migration.VerifyResult {
	if most == 0 {
		return migration.VerifyResult{Indices: verdicts}
	}
	kept, unlisted := migration.BoundVerdicts(verdicts, most)
	return migration.VerifyResult{Indices: kept, Unlisted: unlisted}
}

// failedResult is the result of a failed verification. Without a bound it leaves out unequal
// indices beyond the first ones, and differences that decide nothing.
func failedResult(verdicts []migration.IndexResult, most int) migration.VerifyResult {
	if most > 0 {
		return boundedResult(verdicts, most)
	}
	bounded, unequal := migration.VerifyResult{}, 0
	for _, index := range verdicts {
		if index.Equal {
			index.Differences = nil
		} else if unequal++; unequal > mostUnequal {
			continue
		}
		bounded.Indices = append(bounded.Indices, index)
	}
	return bounded
}

// rehearsedResult lists differences of settings and mappings apart: the source goes on changing, so
// all else may differ. It lists them for the first indices only, since in a rehearsal all may
// differ.
func rehearsedResult(verdicts []migration.IndexResult, metadata map[string][]string,
	most int,
) migration.VerifyResult {
	told, room := 0, most/2
	apart := map[string][]string{}
	for i, index := range verdicts {
		if len(index.Differences) == 0 {
			continue
		}
		if told++; told > mostUnequal && most == 0 {
			verdicts[i].Differences = nil
			continue
		}
		found := few(metadata[index.Name])
		for _, difference := range found {
			room -= len(index.Name) + len(difference)
		}
		if len(found) > 0 && (most == 0 || room > 0) {
			apart[index.Name] = found
		}
	}
	result := boundedResult(verdicts, most/2)
	result.Metadata = apart
	return result
}

// unequal names the indices that differ, with the first difference of each; it is empty if none
// does.
func unequal(verdicts []migration.IndexResult) string {
	var texts []string
	for _, index := range verdicts {
		if !index.Equal {
			texts = append(texts, fmt.Sprintf("index %s is not equal: %s", index.Name, index.Differences[0]))
		}
	}
	return named("", texts)
}
