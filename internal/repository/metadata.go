package repository

import (
	"errors"
	"fmt"
	"strconv"
)

// SnapshotInfo is the content of a root snap-<uuid>.dat: what GET _snapshot shows. Elasticsearch:
// SnapshotInfo.
type SnapshotInfo struct {
	Name, UUID       string // UUID is empty in 2.x
	VersionID        int64  // of Elasticsearch: 5050299 is 5.5.2
	State            State
	Reason           string // of a failure
	Indices          []string
	StartTime        int64 // Unix milliseconds
	EndTime          int64
	TotalShards      int64
	SuccessfulShards int64
}

// ParseSnapshotInfo reads a root snap-<uuid>.dat (2.x: snap-<name>.dat).
func ParseSnapshotInfo(data []byte) (*SnapshotInfo, error) {
	l := Limits{}.orDefault()
	s := &SnapshotInfo{State: StateUnknown}
	body, err := unframe(data, codecSnapshot, l)
	if err == nil {
		err = readValue(body, maxEntries, func(r *reader) error {
			return r.object(func(name string) error {
				if name != "snapshot" {
					return r.skip()
				}
				return r.object(func(name string) error { return s.read(r, name) })
			})
		})
	}
	if err == nil && s.Name == "" {
		err = errors.New("it has no snapshot name")
	}
	if err != nil {
		return nil, malformed("snapshot info", "%v", err)
	}
	return s, nil
}

func (s *SnapshotInfo) read(r *reader, name string) error {
	switch name {
	case "name":
		return r.string(&s.Name)
	case "uuid":
		return r.string(&s.UUID)
	case "version_id":
		return r.int(&s.VersionID)
	case "state":
		var state string
		if err := r.string(&state); err != nil {
			return err
		}
		var err error
		s.State, err = ParseState(state)
		return err
	case "reason":
		return r.optionalString(&s.Reason)
	case "indices":
		return r.strings(&s.Indices)
	case "start_time":
		return r.int(&s.StartTime)
	case "end_time":
		return r.int(&s.EndTime)
	case "total_shards":
		return r.count(&s.TotalShards)
	case "successful_shards":
		return r.count(&s.SuccessfulShards)
	}
	return r.skip()
}

// IndexMetadata is what a copier needs of indices/<id>/meta-<id>.dat. Elasticsearch: IndexMetaData.
type IndexMetadata struct {
	Name   string
	UUID   string // of the index in its cluster: another one means that the index was deleted and created again
	Shards int    // primaries
}

// ParseIndexMetadata reads an index's meta-<id>.dat.
func ParseIndexMetadata(data []byte) (*IndexMetadata, error) {
	l := Limits{}.orDefault()
	m := &IndexMetadata{}
	var shards string
	body, err := unframe(data, codecIndex, l)
	if err == nil {
		err = readValue(body, maxEntries, func(r *reader) error {
			return r.object(func(name string) error {
				if m.Name != "" {
					return fmt.Errorf("it has a second index %s", clip(name))
				}
				m.Name = name
				return r.object(func(name string) error {
					if name != "settings" {
						return r.skip()
					}
					return m.settings(r, &shards)
				})
			})
		})
	}
	if err == nil {
		m.Shards, err = parseShards(shards)
	}
	if err != nil {
		return nil, malformed("index metadata", "%v", err)
	}
	return m, nil
}

// settings reads the flat settings, whose values are strings.
func (m *IndexMetadata) settings(r *reader, shards *string) error {
	return r.object(func(name string) error {
		switch name {
		case "index.number_of_shards":
			return r.string(shards)
		case "index.uuid":
			return r.string(&m.UUID)
		}
		return r.skip()
	})
}

func parseShards(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxShards {
		return 0, fmt.Errorf("its number of shards is %s", clip(s))
	}
	return n, nil
}

func (r *reader) optionalString(into *string) error {
	if k, err := r.peek(); err != nil || k == kindNull {
		if err == nil {
			err = r.skip()
		}
		return err
	}
	return r.string(into)
}
