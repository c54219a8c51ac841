package migration

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIndicesThatAreNotHotAreNamed(t *testing.T) {
	require.Nil(t, NewNotHot(nil, nil, Plan{}))
	var none *NotHot
	require.Empty(t, none.Sentences())
	require.False(t, none.Has("a"))

	var plan Plan
	plan.Source.Warm = WarmLeftOut
	left := NewNotHot([]string{"a", "b"}, []string{"c"}, plan)
	require.Equal(t, []string{
		"in UltraWarm storage, so no round takes them: a, b. They stay on the source (source.warm: leaveOut)",
		"in cold storage, so no round takes them: c. They stay on the source (source.warm: leaveOut)",
	}, left.Sentences())
	require.True(t, left.Has("b"))
	require.True(t, left.Has("c"))
	require.False(t, left.Has("d"))

	plan.Source.Warm = WarmRefused
	refused := NewNotHot(nil, []string{"c"}, plan)
	require.Len(t, refused.Sentences(), 1)
	require.Contains(t, refused.Sentences()[0], "The freeze is refused until each is hot again: POST "+
		`/_cold/migration/_warm {"indices": "INDEX"}, then POST /_ultrawarm/migration/INDEX/_hot`)
}

// The names stand in the workflow's state and in results, so there is room for some only. All count.
func TestOfVeryManyIndicesThatAreNotHotTheFirstAreNamed(t *testing.T) {
	names := make([]string, 2000)
	for i := range names {
		names[i] = fmt.Sprintf("logs-%04d", i)
	}
	n := NewNotHot(names, names, Plan{})
	require.Equal(t, len(names), len(n.Warm)+n.MoreWarm)
	require.Equal(t, n.Warm, n.Cold)
	require.Greater(t, len(n.Warm), 300)
	text, err := json.Marshal(n)
	require.NoError(t, err)
	require.Less(t, len(text), 2*longestNotHot+200)
	require.Contains(t, n.Sentences()[0], fmt.Sprintf(" and %d more. ", n.MoreWarm))
}

func TestAListOfIndicesSaysWhichAreNotHot(t *testing.T) {
	list := ListIndices([]Index{{Name: "a"}})
	list.NotHot = NewNotHot([]string{"w"}, nil, Plan{})
	text, err := json.Marshal(list)
	require.NoError(t, err)
	require.JSONEq(t, `{"inline":[{"name":"a","shards":0,"docs":0,"bytes":0,"replicas":0}],"notHot":{"warm":["w"]}}`,
		string(text))
	var back IndexList
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, list, back)
}
