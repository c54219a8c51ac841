package repository

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ParseRoot reads a root index-N in any form that Elasticsearch 5.0 to 7.17 writes. generation is
// the N of its key; a negative one means the root "index" of 2.x, which names snapshots only. The
// error is a *FormatError.
func ParseRoot(generation int64, data []byte) (*Root, error) {
	p := rootParser{root: &Root{Generation: max(generation, -1)}}
	if err := p.parse(data); err != nil {
		return nil, malformed("root "+RootIndexKey(generation), "%v", err)
	}
	p.root.link()
	return p.root, nil
}

type rootParser struct {
	root        *Root
	lookups     []map[string]string // of each snapshot: index id -> identifier
	identifiers map[string]string   // identifier -> blob id
}

func (p *rootParser) parse(data []byte) error {
	if most := (Limits{}).orDefault().MaxBody; int64(len(data)) > most {
		return fmt.Errorf("it has %d bytes, more than the limit of %d", len(data), most)
	}
	t, err := newJSONTokens(data)
	if err != nil {
		return err
	}
	r := &reader{tokens: t, budget: maxEntries}
	hasSnapshots := false
	err = r.object(func(name string) error {
		switch name {
		case "snapshots":
			hasSnapshots = true
			return r.array(func() error { return p.snapshot(r) })
		case "indices":
			return r.object(func(name string) error { return p.index(r, name) })
		case "min_version":
			return p.minVersion(r)
		case "uuid":
			return r.string(&p.root.UUID)
		case "cluster_id":
			return r.string(&p.root.ClusterID)
		case "index_metadata_identifiers":
			return r.stringMap(&p.identifiers)
		}
		// Elasticsearch refuses such a root as well: only a newer writer adds a field here.
		return errors.New("this field is unknown, so a version later than 7.17 wrote it")
	})
	if err == nil {
		err = r.end()
	}
	if err == nil && !hasSnapshots {
		err = errors.New("it has no list of snapshots")
	}
	if err == nil {
		err = p.check()
	}
	return err
}

func (p *rootParser) minVersion(r *reader) error {
	if err := r.string(&p.root.MinVersion); err != nil {
		return err
	}
	major, _, _ := strings.Cut(p.root.MinVersion, ".")
	if n, ok := parseNumber(major); !ok || n > 7 {
		return fmt.Errorf("only Elasticsearch %s and later can read it", clip(p.root.MinVersion))
	}
	return nil
}

// snapshot reads one snapshot: an object, or (2.x) its name alone.
func (p *rootParser) snapshot(r *reader) error {
	s := Snapshot{State: StateUnknown}
	var lookup map[string]string
	k, err := r.peek()
	if err == nil && k == kindString {
		err = r.string(&s.Name)
		s.UUID = s.Name
	} else if err == nil {
		err = r.object(func(name string) error {
			switch name {
			case "name":
				return r.string(&s.Name)
			case "uuid":
				return r.string(&s.UUID)
			case "state":
				return readState(r, &s.State)
			case "version":
				return r.string(&s.Version)
			case "index_metadata_lookup":
				return r.stringMap(&lookup)
			}
			return r.skip() // as Elasticsearch does: times and the like of later versions
		})
	}
	p.root.Snapshots = append(p.root.Snapshots, s)
	p.lookups = append(p.lookups, lookup)
	return err
}

func readState(r *reader, into *State) error {
	var n int64
	if err := r.int(&n); err != nil {
		return err
	}
	*into = State(n)
	if _, ok := stateNames[*into]; !ok {
		return fmt.Errorf("%d is no state of a snapshot", n)
	}
	return nil
}

func (p *rootParser) index(r *reader, name string) error {
	index := Index{Name: name}
	err := r.object(func(field string) error {
		switch field {
		case "id":
			return r.string(&index.ID)
		case "snapshots":
			return r.array(func() error {
				uuid, err := readSnapshotRef(r)
				index.Snapshots = append(index.Snapshots, uuid)
				return err
			})
		case "shard_generations":
			return r.array(func() error {
				generation, err := readGeneration(r)
				index.ShardGenerations = append(index.ShardGenerations, generation)
				return err
			})
		}
		return r.skip()
	})
	p.root.Indices = append(p.root.Indices, index)
	return err
}

// readSnapshotRef reads a snapshot's uuid, or before 5.4.1 an object that holds it.
func readSnapshotRef(r *reader) (uuid string, err error) {
	k, err := r.peek()
	if err != nil || k == kindString {
		if err == nil {
			err = r.string(&uuid)
		}
		return uuid, err
	}
	err = r.object(func(name string) error {
		if name == "uuid" {
			return r.string(&uuid)
		}
		return r.skip()
	})
	return uuid, err
}

// readGeneration reads a shard's generation. null, _new and _deleted mean that no shard index
// stands there (Elasticsearch: ShardGenerations).
func readGeneration(r *reader) (string, error) {
	t, err := r.next()
	switch {
	case err != nil:
		return "", err
	case t.kind == kindNull, t.kind == kindString && (t.str == "_new" || t.str == "_deleted"):
		return "", nil
	case t.kind != kindString:
		return "", fmt.Errorf("there is %v where a generation should be", t.kind)
	}
	return t.str, checkName("shard generation", t.str)
}

// check refuses names that can't be in a key, and references to what the root doesn't have. It
// resolves the metadata lookups.
func (p *rootParser) check() error {
	uuids, names := map[string]bool{}, map[string]bool{}
	for i := range p.root.Snapshots {
		s := &p.root.Snapshots[i]
		if err := errors.Join(checkName("snapshot name", s.Name), checkName("snapshot uuid", s.UUID)); err != nil {
			return err
		}
		if uuids[s.UUID] || names[s.Name] {
			return fmt.Errorf("the snapshot %s [%s] is listed twice", clip(s.Name), clip(s.UUID))
		}
		uuids[s.UUID], names[s.Name] = true, true
		if err := p.resolve(s, p.lookups[i]); err != nil {
			return err
		}
	}
	ids := map[string]bool{}
	for i := range p.root.Indices {
		index := &p.root.Indices[i]
		if err := errors.Join(checkName("index name", index.Name), checkName("index id", index.ID)); err != nil {
			return err
		}
		if ids[index.ID] {
			return fmt.Errorf("two indices have the id %s", clip(index.ID))
		}
		ids[index.ID] = true
		if len(index.ShardGenerations) > maxShards {
			return fmt.Errorf("the index %s has %d shard generations", clip(index.Name), len(index.ShardGenerations))
		}
		for _, uuid := range index.Snapshots {
			if !uuids[uuid] {
				return fmt.Errorf("it is damaged: index %s refers to the unknown snapshot uuid %s",
					clip(index.Name), clip(uuid))
			}
		}
		index.Snapshots = distinct(index.Snapshots)
	}
	return nil
}

func (p *rootParser) resolve(s *Snapshot, lookup map[string]string) error {
	for indexID, identifier := range lookup {
		blob, ok := p.identifiers[identifier]
		if !ok {
			return fmt.Errorf("the snapshot %s refers to unknown index metadata %s", clip(s.Name), clip(identifier))
		}
		if err := checkName("index metadata id", blob); err != nil {
			return err
		}
		lookup[indexID] = blob
	}
	s.indexMetadata = lookup
	return nil
}

// distinct drops repetitions and keeps the order; Elasticsearch reads such a list as a set.
func distinct(list []string) []string {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(s string) bool {
		again := seen[s]
		seen[s] = true
		return again
	})
}
