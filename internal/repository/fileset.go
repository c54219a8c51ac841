package repository

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// PhysicalFile is a file of a shard as it lies on a node's disk.
type PhysicalFile struct {
	Name   string // Lucene's, as _0.cfs
	Length int64
}

// FileSet sums up the files of a shard: two shards with equal sets have files of the same names
// and lengths. The zero value has no files.
type FileSet struct {
	Files int
	Bytes int64
	// Names is a digest over names and lengths; zero if only number and bytes are known.
	Names [sha256.Size]byte
}

// NewFileSet sums up files, in whatever order.
func NewFileSet(files []PhysicalFile) FileSet {
	var set FileSet
	sorted := slices.SortedFunc(slices.Values(files), func(a, b PhysicalFile) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Length, b.Length))
	})
	digest := sha256.New()
	for _, f := range sorted {
		set.Files++
		set.Bytes += f.Length
		_ = binary.Write(digest, binary.BigEndian, []int64{int64(len(f.Name)), f.Length})
		_, _ = io.WriteString(digest, f.Name)
	}
	digest.Sum(set.Names[:0])
	return set
}

// PhysicalFiles are the shard's files as a restore makes them.
func (s *ShardSnapshot) PhysicalFiles() []PhysicalFile {
	files := make([]PhysicalFile, len(s.Files))
	for i, f := range s.Files {
		files[i] = PhysicalFile{f.PhysicalName, f.Length}
	}
	return files
}

// Same compares sets. If one of them knows no names, then number and bytes decide.
func (s FileSet) Same(other FileSet) bool {
	var unknown [sha256.Size]byte
	named := s.Names != unknown && other.Names != unknown
	return s.Files == other.Files && s.Bytes == other.Bytes && (!named || s.Names == other.Names)
}

// mostDifferences bounds what a sentence about different files names.
const mostDifferences = 3

// DifferentFiles says in words how the files of a shard differ from those that a snapshot lists;
// empty if they don't.
func DifferentFiles(listed, found []PhysicalFile) string {
	lengths := map[string]int64{}
	for _, f := range found {
		lengths[f.Name] = f.Length
	}
	var all []string
	for _, f := range listed {
		length, ok := lengths[f.Name]
		delete(lengths, f.Name)
		switch {
		case !ok:
			all = append(all, fmt.Sprintf("%s is missing", f.Name))
		case length != f.Length:
			all = append(all, fmt.Sprintf("%s has %d bytes instead of %d", f.Name, length, f.Length))
		}
	}
	for name := range lengths {
		all = append(all, fmt.Sprintf("%s is not in the snapshot", name))
	}
	slices.Sort(all)
	if more := len(all) - mostDifferences; more > 0 {
		all = append(all[:mostDifferences], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}
