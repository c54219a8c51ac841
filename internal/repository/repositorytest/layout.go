package repositorytest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/snapferry/snapferry/internal/repository"
)

// upload stores the files of a shard that no earlier snapshot has, and returns all of them.
// Elasticsearch: BlobStoreRepository.SnapshotContext.
func (r *Repository) upload(index string, n int, sh *shard) []repository.File {
	known := map[string]repository.File{}
	for _, s := range r.snapshots {
		if n < len(s.shards[index]) {
			for _, f := range s.shards[index][n] {
				known[f.PhysicalName+" "+f.Checksum+" "+strconv.FormatInt(f.Length, 10)] = f
			}
		}
	}
	counter := r.highestBlob(index, n)
	var files []repository.File
	for _, segment := range append(slices.Clone(sh.segments), []file{sh.committed}) {
		for _, f := range segment {
			info, ok := known[f.name+" "+f.checksum()+" "+strconv.Itoa(len(f.content))]
			if !ok {
				counter++
				info = r.store(index, n, f, counter)
			}
			files = append(files, info)
		}
	}
	return files
}

// highestBlob finds the highest counter among the blobs of a shard. Those deleted don't count, so
// their names come back.
func (r *Repository) highestBlob(index string, n int) int64 {
	highest := int64(-1)
	prefix := r.shardPrefix(index, n) + "__"
	for key := range r.objects {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".part")
			if i, err := strconv.ParseInt(name, 36, 64); err == nil {
				highest = max(highest, i)
			}
		}
	}
	return highest
}

func (r *Repository) store(index string, n int, f file, counter int64) repository.File {
	info := repository.File{
		Name: "__" + strconv.FormatInt(counter, 36), PhysicalName: f.name,
		Length:   int64(len(f.content)),
		Checksum: f.checksum(), PartSize: r.options.ChunkSize, WrittenBy: "6.6.0",
	}
	small := strings.HasSuffix(f.name, ".si") || strings.HasPrefix(f.name, "segments_")
	if small {
		info.MetaHash = f.content
	}
	if r.options.Layout == Layout710 {
		info.Name, info.WrittenBy = "__"+r.uuid(), "8.7.0"
		if small {
			info.Name = "v" + info.Name
		}
	}
	rest := f.content
	for _, b := range info.Blobs() {
		r.objects[r.shardPrefix(index, n)+b.Name] = rest[:b.Length]
		rest = rest[b.Length:]
	}
	return info
}

// write stores the objects of a new snapshot, from the shards up to the root.
func (r *Repository) write(s *snapshot) {
	for _, name := range slices.Sorted(maps.Keys(s.shards)) {
		shards := s.shards[name]
		for n, files := range shards {
			r.objects[r.shardPrefix(name, n)+"snap-"+s.uuid+".dat"] = r.frame("snapshot",
				ShardSnapshot(s.name, s.start, files))
			r.writeShardIndex(name, n)
		}
		r.writeIndexMetadata(s, name)
	}
	r.objects["meta-"+s.uuid+".dat"] = r.frame("metadata", Object{{"meta-data", Object{
		{"version", 12}, {"cluster_uuid", "8rT2hPzXQwS3nF0kYb1mLg"}, {"templates", Object{}},
	}}})
	r.objects["snap-"+s.uuid+".dat"] = r.frame("snapshot", r.snapshotInfo(s))
	r.writeRoot()
}

func (r *Repository) snapshotInfo(s *snapshot) Object {
	var indices []any
	shards := 0
	for _, name := range slices.Sorted(maps.Keys(s.shards)) {
		indices = append(indices, name)
		shards += len(s.shards[name])
	}
	version := 5_050_299
	if r.options.Layout == Layout710 {
		version = 7_100_299
	}
	return Object{{"snapshot", Object{
		{"name", s.name},
		{"uuid", s.uuid},
		{"version_id", version},
		{"indices", indices},
		{"state", s.state.String()},
		{"start_time", s.start},
		{"end_time", s.start + 1500},
		{"total_shards", shards},
		{"successful_shards", shards},
		{"failures", []any(nil)},
	}}}
}

func (r *Repository) writeIndexMetadata(s *snapshot, name string) {
	id := s.uuid
	uuid := r.mustIndex(name).uuid
	if r.options.Layout == Layout710 {
		// One object for all snapshots of an index that has not changed.
		id = "m" + uuid[:19]
		s.meta[name] = id
	}
	r.objects["indices/"+r.ids[name]+"/meta-"+id+".dat"] = r.frame("index-metadata", Object{{name, Object{
		{"version", 5},
		{"routing_num_shards", len(s.shards[name])},
		{"state", "open"},
		{"settings", Object{
			{"index.creation_date", "1514764800000"},
			{"index.number_of_replicas", "1"},
			{"index.number_of_shards", strconv.Itoa(len(r.mustIndex(name).shards))},
			{"index.uuid", uuid},
			{"index.version.created", "5050299"},
		}},
		{"mappings", []any{[]byte("DFL\x00")}},
		{"aliases", Object{}},
	}}})
}

// writeShardIndex writes the list of all snapshots of a shard, or removes it with the last of them.
func (r *Repository) writeShardIndex(index string, n int) {
	prefix := r.shardPrefix(index, n)
	generation := int64(-1)
	for key := range r.objects {
		if rest, ok := strings.CutPrefix(key, prefix+"index-"); ok {
			if i, err := strconv.ParseInt(rest, 10, 64); err == nil {
				generation = max(generation, i)
			}
			delete(r.objects, key)
		}
	}
	files, snapshots := []any{}, Object{}
	seen := map[string]bool{}
	for _, s := range r.snapshots {
		if n >= len(s.shards[index]) {
			continue
		}
		var names []any
		for _, f := range s.shards[index][n] {
			names = append(names, f.Name)
			if !seen[f.Name] {
				seen[f.Name] = true
				files = append(files, fileObject(f))
			}
		}
		snapshots = append(snapshots, Field{s.name, Object{{"files", names}}})
	}
	if len(snapshots) == 0 {
		return
	}
	name := strconv.FormatInt(generation+1, 10)
	if r.options.Layout == Layout710 {
		name = r.uuid()
	}
	r.objects[prefix+"index-"+name] = r.frame("snapshots", Object{{"files", files}, {"snapshots", snapshots}})
}

// unlink removes the objects of a deleted snapshot, from the root down.
func (r *Repository) unlink(gone *snapshot) {
	touched := []func(){}
	for name, shards := range gone.shards {
		if gone.meta[name] == "" {
			delete(r.objects, "indices/"+r.ids[name]+"/meta-"+gone.uuid+".dat")
		}
		for n := range shards {
			touched = append(touched, func() {
				delete(r.objects, r.shardPrefix(name, n)+"snap-"+gone.uuid+".dat")
				r.sweep(name, n)
			})
		}
	}
	for _, touch := range touched {
		touch()
	}
	delete(r.objects, "snap-"+gone.uuid+".dat")
	delete(r.objects, "meta-"+gone.uuid+".dat")
	for _, name := range slices.Sorted(maps.Keys(gone.shards)) {
		for n := range gone.shards[name] {
			r.writeShardIndex(name, n)
		}
		if !r.hasIndex(name) { // Elasticsearch forgets the id with the last snapshot of an index
			for key := range r.objects {
				if strings.HasPrefix(key, "indices/"+r.ids[name]+"/") {
					delete(r.objects, key)
				}
			}
			delete(r.ids, name)
		}
	}
	r.writeRoot()
}

func (r *Repository) hasIndex(name string) bool {
	return slices.ContainsFunc(r.snapshots, func(s *snapshot) bool { return s.shards[name] != nil })
}

// sweep removes the data blobs of a shard that no snapshot needs.
func (r *Repository) sweep(index string, n int) {
	needed := map[string]bool{}
	for _, s := range r.snapshots {
		if n < len(s.shards[index]) {
			for _, f := range s.shards[index][n] {
				for _, b := range f.Blobs() {
					needed[b.Name] = true
				}
			}
		}
	}
	prefix := r.shardPrefix(index, n)
	for key := range r.objects {
		if rest, ok := strings.CutPrefix(key, prefix); ok && strings.HasPrefix(rest, "__") && !needed[rest] {
			delete(r.objects, key)
		}
	}
}

func (r *Repository) writeRoot() {
	r.generation++
	r.objects[repository.RootIndexKey(r.generation)] = r.root()
	r.objects[repository.LatestKey] = repository.EncodeLatest(r.generation)
	keep := int64(0)
	if r.options.Layout == Layout55 {
		keep = 1 // 5.x keeps the last but one
		r.objects[repository.IncompatibleKey] = []byte(`{"incompatible-snapshots":[]}`)
	}
	for key := range r.objects {
		if k := repository.Classify(key); k.Class == repository.ClassRootIndex && k.Generation < r.generation-keep {
			delete(r.objects, key)
		}
	}
}

func (r *Repository) root() []byte {
	snapshots, identifiers := []map[string]any{}, map[string]string{}
	indices := map[string]map[string]any{}
	for _, s := range r.snapshots {
		entry := map[string]any{"name": s.name, "uuid": s.uuid, "state": int(s.state)}
		lookup := map[string]string{}
		for name := range s.shards {
			id := r.ids[name]
			if indices[name] == nil {
				indices[name] = map[string]any{"id": id, "snapshots": []string{}}
			}
			indices[name]["snapshots"] = append(indices[name]["snapshots"].([]string), s.uuid)
			if blob := s.meta[name]; blob != "" {
				lookup[id] = blob + "-_na_-1-2-1"
				identifiers[blob+"-_na_-1-2-1"] = blob
			}
		}
		if r.options.Layout == Layout710 {
			entry["version"], entry["index_metadata_lookup"] = "7.10.2", lookup
		}
		snapshots = append(snapshots, entry)
	}
	out := map[string]any{"snapshots": snapshots, "indices": indices}
	if r.options.Layout == Layout710 {
		out["min_version"], out["index_metadata_identifiers"] = "7.9.0", identifiers
		for name, entry := range indices {
			entry["shard_generations"] = r.generations(name)
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return data
}

func (r *Repository) generations(index string) []any {
	var out []any
	for key := range r.objects {
		k := repository.Classify(key)
		if k.Class == repository.ClassShardIndex && k.Shard.IndexID == r.ids[index] {
			for len(out) <= k.Shard.Number {
				out = append(out, nil)
			}
			out[k.Shard.Number] = k.UUID
		}
	}
	return out
}

func (r *Repository) frame(codec string, value Object) []byte {
	return Frame(codec, Smile(value), r.options.Compress)
}

// ShardSnapshot is the value of a shard's snap-<uuid>.dat.
func ShardSnapshot(name string, start int64, files []repository.File) Object {
	list := []any{}
	var total int64
	for _, f := range files {
		list = append(list, fileObject(f))
		total += f.Length
	}
	return Object{
		{"name", name},
		{"index_version", 3},
		{"start_time", start},
		{"time", 27},
		{"number_of_files", len(files)},
		{"total_size", total},
		{"files", list},
	}
}

// ShardSnapshotObject is a shard's snap-<uuid>.dat, plain.
func ShardSnapshotObject(name string, files []repository.File) []byte {
	return Frame("snapshot", Smile(ShardSnapshot(name, 1_514_764_800_000, files)), false)
}

func fileObject(f repository.File) Object {
	o := Object{{"name", f.Name}, {"physical_name", f.PhysicalName}, {"length", f.Length}}
	if f.Checksum != "" {
		o = append(o, Field{"checksum", f.Checksum})
	}
	if f.PartSize != 0 {
		o = append(o, Field{"part_size", f.PartSize})
	}
	if f.WrittenBy != "" {
		o = append(o, Field{"written_by", f.WrittenBy})
	}
	if len(f.MetaHash) > 0 {
		o = append(o, Field{"meta_hash", f.MetaHash})
	}
	return o
}
