package repository

import (
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileSetsTellFilesApart(t *testing.T) {
	files := []PhysicalFile{{"_0.cfs", 3327}, {"_0.si", 395}, {"segments_4", 531}}
	set := NewFileSet(files)
	require.Equal(t, 3, set.Files)
	require.EqualValues(t, 4253, set.Bytes)
	backwards := slices.Clone(files)
	slices.Reverse(backwards)
	require.True(t, set.Same(NewFileSet(backwards)))
	require.Empty(t, DifferentFiles(files, backwards))
	shorter := func(f []PhysicalFile) []PhysicalFile { f[1].Length--; return f }
	changes := map[string]func([]PhysicalFile) []PhysicalFile{
		"_0.si has 394 bytes instead of 395":                                        shorter,
		"_0.cfs has 3328 bytes instead of 3327, _0.si has 394 bytes instead of 395": shifted,
		"segments_4 is missing": func(f []PhysicalFile) []PhysicalFile {
			return f[:2]
		},
		"_1.si is not in the snapshot": func(f []PhysicalFile) []PhysicalFile {
			return append(f, PhysicalFile{"_1.si", 1})
		},
		"_0.si is missing, _9.si is not in the snapshot": func(f []PhysicalFile) []PhysicalFile {
			f[1].Name = "_9.si"
			return f
		},
	}
	for want, change := range changes {
		found := change(slices.Clone(files))
		require.False(t, set.Same(NewFileSet(found)), want)
		require.Equal(t, want, DifferentFiles(files, found))
	}
	var many []PhysicalFile
	for i := range 9 {
		many = append(many, PhysicalFile{strconv.Itoa(i), 1})
	}
	require.Equal(t, "0 is missing, 1 is missing, 2 is missing, and 6 more", DifferentFiles(many, nil))
}

// shifted leaves number and bytes of all files as they were.
func shifted(f []PhysicalFile) []PhysicalFile {
	f[0].Length++
	f[1].Length--
	return f
}

// Before 7.0 a cluster tells how many files and bytes it recovered, and no names.
func TestFileSetsWithoutNames(t *testing.T) {
	set := NewFileSet([]PhysicalFile{{"_0.cfs", 3327}, {"_0.si", 395}})
	require.True(t, set.Same(FileSet{Files: 2, Bytes: 3722}))
	require.False(t, set.Same(FileSet{Files: 2, Bytes: 3721}))
	require.False(t, set.Same(FileSet{Files: 1, Bytes: 3722}))
	require.False(t, set.Same(FileSet{}))
	require.True(t, FileSet{}.Same(FileSet{}))
}
