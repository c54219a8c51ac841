package migration

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAProofHoldsOnlyForTheSameMarksOfBothClusters(t *testing.T) {
	upTo := int64(7)
	proof := ShardProof{Mark: "9/life", Target: "9/other", UpTo: &upTo, Life: "life"}
	require.True(t, proof.Holds("9/life", "9/other"))
	for _, marks := range [][2]string{
		{"10/life", "9/other"},
		{"9/next", "9/other"},
		{"9/life", "10/other"},
		{"9/life", "9/moved"},
		{"", "9/other"},
		{"9/life", ""},
		{"", ""},
	} {
		require.False(t, proof.Holds(marks[0], marks[1]), "%v", marks)
	}
	require.False(t, ShardProof{}.Holds("", ""), "nothing proves nothing")
	require.False(t, ShardProof{UpTo: &upTo, Life: "life"}.Holds("", ""))

	reached, reaches := proof.Reaches("30/life")
	require.True(t, reaches)
	require.Equal(t, upTo, reached)
	for _, mark := range []string{"30/next", "30", "", "/"} {
		_, reaches = proof.Reaches(mark)
		require.False(t, reaches, "another life may give the number to another operation: %q", mark)
	}
	proof.Unlike = "the checksums differ"
	require.False(t, proof.Holds("9/life", "9/other"))
	_, reaches = proof.Reaches("30/life")
	require.False(t, reaches)
}

// The id of a commit, before 6.0, is base64.
func TestACommitMayHoldASlash(t *testing.T) {
	before := IndexMark{UUID: "u", Definition: "d", Shards: []string{"ZyDoZg/A==/life"}}
	now := IndexMark{UUID: "u", Definition: "d", Shards: []string{"ZyDoZg/B==/life"}}
	require.False(t, now.Unchanged(before))
	require.Equal(t, ReasonWritten, now.WhyChanged(before))
	now.Shards[0] = "ZyDoZg/A==/next"
	require.Equal(t, ReasonMoved, now.WhyChanged(before))
	_, known := SeqNo("12/A==/life")
	require.False(t, known)
	number, known := SeqNo("12/life")
	require.True(t, known)
	require.Equal(t, int64(12), number)
}
