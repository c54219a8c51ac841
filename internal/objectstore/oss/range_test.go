package oss_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore"
	"github.com/snapferry/snapferry/internal/objectstore/objectstoretest"
)

func TestReadRange(t *testing.T) {
	s := open(t, start(t))
	data := objectstoretest.Random(3, 100_000)
	put, err := s.Put(t.Context(), "k", bytes.NewReader(data), int64(len(data)), nil)
	require.NoError(t, err)
	for _, r := range [][2]int{{0, len(data)}, {0, 1}, {99_999, 1}, {500, 70_000}} {
		body, err := s.ReadRange(t.Context(), "k", put.ETag, int64(r[0]), int64(r[1]))
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		require.True(t, bytes.Equal(data[r[0]:r[0]+r[1]], got), r)
		require.Equal(t, put.ETag, body.ETag)
	}
	_, err = s.ReadRange(t.Context(), "k", "00000000000000000000000000000000", 0, 5)
	require.Equal(t, objectstore.Changed, objectstore.KindOf(err), "%v", err)
	_, err = s.ReadRange(t.Context(), "absent", "", 0, 5)
	require.Equal(t, objectstore.NotFound, objectstore.KindOf(err), "%v", err)
	_, err = s.ReadRange(t.Context(), "../k", "", 0, 5)
	require.Equal(t, objectstore.Invalid, objectstore.KindOf(err), "%v", err)
}
