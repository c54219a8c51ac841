package workflows

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/migration"
)

// Of very many indices the report lists some and sums up the others, and says where all are.
func TestAReportSumsUpTheIndicesThatItDoesNotList(t *testing.T) {
	w := newWorld(t)
	w.unlisted = &migration.Unlisted{
		Equal: 9998, Differing: 3, SourceDocs: 12, TargetDocs: 12,
		AllOf: migration.Stored[[]migration.IndexResult]{Digest: strings.Repeat("a", 64), Entries: 10000},
	}
	w.usualRequests()
	w.run()
	report := w.completed()
	require.Equal(t, w.unlisted, report.IndicesOmitted)
	require.Contains(t, report.Warnings, "3 more indices differ in settings, mappings or aliases")
	remains := strings.Join(report.Remains, "\n")
	require.Contains(t, remains, "OSS: what the verification found of each index, as JSON, in to-bucket/")
	require.Contains(t, remains, "-lists/"+strings.Repeat("a", 64))
}

func TestWhatIsKnownOfIndicesThatAreNotListed(t *testing.T) {
	var none *window
	require.Nil(t, none.equal("movies"))
	w := &window{verified: []migration.IndexResult{{Name: "movies"}}}
	require.False(t, *w.equal("movies"))
	require.Nil(t, w.equal("other"), "nobody compared it")
	w.unlisted = &migration.Unlisted{Equal: 7}
	require.True(t, *w.equal("other"))
	w.unlisted.Unequal = 1
	require.Nil(t, w.equal("other"), "it may be the one that is not")
}

// A rehearsal in which more is unequal than it can look at says so.
func TestARehearsalNamesWhatItCouldNotLookAt(t *testing.T) {
	w := newRehearsal(t)
	w.verified.Unlisted = &migration.Unlisted{Unequal: 12}
	w.run()
	report := w.rehearsed()
	require.Equal(t, w.verified.Unlisted, report.IndicesOmitted)
	var texts []string
	for _, attention := range report.Rehearsal.Attention {
		texts = append(texts, attention.Message)
	}
	require.Contains(t, strings.Join(texts, "\n"), "12 more indices are not equal")
}
