package repository_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/repository"
	rt "github.com/snapferry/snapferry/internal/repository/repositorytest"
)

var files = []repository.File{
	{Name: "__0", PhysicalName: "_0.cfe", Length: 405, Checksum: "1b5m8zd", PartSize: 1 << 30, WrittenBy: "6.6.0"},
	{Name: "__1", PhysicalName: "_0.cfs", Length: 250_000, Checksum: "x", PartSize: 100_000, WrittenBy: "6.6.0"},
	{
		Name: "__2", PhysicalName: "_0.si", Length: 4, Checksum: "y", WrittenBy: "6.6.0",
		MetaHash: []byte{0, 1, 0xff, 0x3a},
	},
	{
		Name: "v__" + "2hiUzvH3RPCp9iOeiTa6TQ", PhysicalName: "segments_3", Length: 3, Checksum: "z",
		MetaHash: []byte("abc"),
	},
	{Name: "__3", PhysicalName: "_0.liv", Length: 0, Checksum: "q", PartSize: 5},
}

func field(o rt.Object, name string, value any) rt.Object {
	out := rt.Object{}
	for _, f := range o {
		if f.Name == name {
			f.Value = value
		}
		out = append(out, f)
	}
	return out
}

func document() rt.Object { return rt.ShardSnapshot("movies-r0001-a1", 1_514_764_800_000, files) }

func TestParseShardSnapshotInEachForm(t *testing.T) {
	smile := rt.Smile(document())
	json := `{"name":"movies-r0001-a1","index_version":3,"start_time":1514764800000,"time":27,"number_of_files":5,"total_size":250412,"later":{"x":[1,{}]},"files":[
		{"name":"__0","physical_name":"_0.cfe","length":405,"checksum":"1b5m8zd","part_size":1073741824,"written_by":"6.6.0"},
		{"name":"__1","physical_name":"_0.cfs","length":250000,"checksum":"x","part_size":100000,"written_by":"6.6.0"},
		{"name":"__2","physical_name":"_0.si","length":4,"checksum":"y","written_by":"6.6.0","meta_hash":"AAH/Og=="},
		{"name":"v__2hiUzvH3RPCp9iOeiTa6TQ","physical_name":"segments_3","length":3,"checksum":"z","meta_hash":"YWJj"},
		{"name":"__3","physical_name":"_0.liv","length":0,"checksum":"q","part_size":5}]}`
	for title, data := range map[string][]byte{
		"Smile":                 rt.Frame("snapshot", smile, false),
		"Smile, deflated":       rt.Frame("snapshot", smile, true),
		"Smile with end marker": rt.Frame("snapshot", append(bytes.Clone(smile), 0xff), false),
		"Smile with shared values": rt.Frame("snapshot", rt.SmileOptions{SharedValues: true}.Encode(document()),
			false),
		"Smile with 7-bit binary": rt.Frame("snapshot", rt.SmileOptions{SevenBit: true}.Encode(document()), false),
		"JSON":                    rt.Frame("snapshot", []byte(json), false),
		"JSON, deflated":          rt.Frame("snapshot", []byte(json), true),
		"Smile, unknown field added": rt.Frame("snapshot",
			rt.Smile(append(document(), rt.Field{Name: "later", Value: []any{1.5, rt.Object{}}})), false),
	} {
		t.Run(title, func(t *testing.T) {
			s, err := repository.ParseShardSnapshot(data)
			require.NoError(t, err)
			assert.Equal(t, &repository.ShardSnapshot{
				Name: "movies-r0001-a1", IndexVersion: 3,
				StartTime: 1_514_764_800_000, Duration: 27,
				NewFiles: 5, NewBytes: 250_412, Files: files,
			}, s)
		})
	}
}

// Written by hand: a Lucene codec header, Smile, a footer; the CRC32 is computed apart from this
// package's code.
func TestParseShardSnapshotGolden(t *testing.T) {
	data := []byte("\x3f\xd7\x6c\x17\x08snapshot\x00\x00\x00\x01" +
		":)\n\x05\xfa\x83name\x40s\x84files\xf8\xfa\x40\x42__0\x8cphysical_name\x45_0.cfe\x85length\x24\x0c\xaa\x87checksum\x42abc\xfb\xf9\xfb" +
		"\xc0\x28\x93\xe8\x00\x00\x00\x00")
	data = binary.BigEndian.AppendUint64(data, uint64(crc32.Checksum(data, crc32.MakeTable(0xedb88320))))
	s, err := repository.ParseShardSnapshot(data)
	require.NoError(t, err)
	assert.Equal(t, &repository.ShardSnapshot{Name: "s", IndexVersion: -1, Files: []repository.File{
		{Name: "__0", PhysicalName: "_0.cfe", Length: 405, Checksum: "abc"},
	}}, s)
}

func TestBlobs(t *testing.T) {
	whole := func(name string, length int64) []repository.FileBlob {
		return []repository.FileBlob{{Name: name, Part: -1, Length: length}}
	}
	for _, c := range []struct {
		file repository.File
		want []repository.FileBlob
	}{
		{repository.File{Name: "__a", Length: 9}, whole("__a", 9)},
		{repository.File{Name: "__a", Length: 0, PartSize: 10}, whole("__a", 0)},
		{repository.File{Name: "__a", Length: 9, PartSize: 10}, whole("__a", 9)},
		{repository.File{Name: "__a", Length: 10, PartSize: 10}, whole("__a", 10)},
		{repository.File{Name: "__a", Length: 10, PartSize: math.MaxInt64}, whole("__a", 10)},
		{
			repository.File{Name: "__a", Length: 11, PartSize: 10},
			[]repository.FileBlob{{"__a.part0", 0, 10}, {"__a.part1", 1, 1}},
		},
		{
			repository.File{Name: "__a", Length: 20, PartSize: 10},
			[]repository.FileBlob{{"__a.part0", 0, 10}, {"__a.part1", 1, 10}},
		},
		{repository.File{Name: "v__a", Length: 20, PartSize: 10}, []repository.FileBlob{}},
	} {
		assert.Equal(t, c.want, c.file.Blobs(), "%+v", c.file)
		assert.EqualValues(t, len(c.want), c.file.Parts())
	}
}

// entry is a file's fields with one changed.
func entry(name string, value any) rt.Object {
	o := rt.Object{
		{Name: "name", Value: "__0"},
		{Name: "physical_name", Value: "_0.cfs"},
		{Name: "length", Value: 10},
		{Name: "checksum", Value: "abc"},
		{Name: "part_size", Value: 100},
	}
	return field(o, name, value)
}

func with(entries ...any) []byte {
	return rt.Frame("snapshot", rt.Smile(rt.Object{{Name: "name", Value: "s"}, {Name: "files", Value: entries}}), false)
}

func TestParseShardSnapshotRefuses(t *testing.T) {
	good := rt.ShardSnapshotObject("s", files)
	_, err := repository.ParseShardSnapshot(good)
	require.NoError(t, err)
	_, err = repository.ParseShardSnapshot(with(entry("", nil)))
	require.NoError(t, err)

	changed := func(at int) []byte {
		data := bytes.Clone(good)
		data[(at+len(data))%len(data)] ^= 1
		return data
	}
	smile := rt.Smile(document())
	other := bytes.Clone(entryDuplicate())
	cases := map[string]struct {
		data []byte
		want string
	}{
		"nothing":                     {nil, "has only 0 bytes"},
		"a header alone":              {good[:17], "has only 17 bytes"},
		"no magic":                    {changed(0), "doesn't start"},
		"another codec":               {rt.Frame("snapshots", smile, false), "codec"},
		"another codec of one length": {rt.Frame("snapshoT", smile, false), "codec is not"},
		"another version":             {changed(16), "codec version"},
		"a flipped bit":               {changed(60), "checksum"},
		"a flipped checksum":          {changed(-1), "checksum"},
		"a checksum over 32 bits":     {changed(-8), "checksum"},
		"cut short":                   {good[:len(good)-5], "footer"},
		"no body":                     {rt.Frame("snapshot", nil, false), "Smile header"},
		"deflate of nothing":          {rt.Frame("snapshot", []byte("DFL\x00"), false), "inflated"},
		"deflate that is none":        {rt.Frame("snapshot", []byte("DFL\x00\xff\xff\xff"), false), "inflated"},
		"deflate with a tail": {
			rt.Frame("snapshot", append(rt.Deflate(smile), 0), false),
			"more bytes after its end",
		},
		"two values": {
			rt.Frame("snapshot", append(bytes.Clone(smile), 0x21), false),
			"more bytes after its end",
		},
		"a list":   {rt.Frame("snapshot", rt.Smile([]any{}), false), "an array where an object"},
		"no name":  {rt.Frame("snapshot", rt.Smile(document()[1:]), false), "no snapshot name"},
		"no files": {rt.Frame("snapshot", rt.Smile(document()[:6]), false), "no list of files"},
		"files that are none": {
			rt.Frame("snapshot", rt.Smile(field(document(), "files", 5)), false),
			"an integer where an array",
		},
		"a negative count": {
			rt.Frame("snapshot", rt.Smile(field(document(), "number_of_files", -5)), false),
			"negative",
		},
		"a field twice":              {other, "occurs twice"},
		"a file that is a string":    {with("__0"), "a string where an object"},
		"an empty file entry":        {with(rt.Object{}), "data blob name"},
		"a name with a slash":        {with(entry("name", "__0/../../x")), "data blob name"},
		"a name with dots":           {with(entry("name", "../__0")), "data blob name"},
		"a name of another class":    {with(entry("name", "snap-x.dat")), "data blob name"},
		"a name with a part":         {with(entry("name", "__0.part1")), "data blob name"},
		"a name with a control":      {with(entry("name", "__0\n")), "data blob name"},
		"a bare prefix":              {with(entry("name", "__")), "data blob name"},
		"a name too long":            {with(entry("name", "__"+strings.Repeat("a", 300))), "data blob name"},
		"a physical name with dots":  {with(entry("physical_name", "..")), "physical name"},
		"a physical name with slash": {with(entry("physical_name", "a/b")), "physical name"},
		"no physical name":           {with(entry("physical_name", "")), "physical name"},
		"a name twice": {
			with(entry("", nil), entry("physical_name", "_1.cfs")),
			"two files have its name",
		},
		"a physical name twice":       {with(entry("", nil), entry("name", "__1")), "two files have the physical name"},
		"a negative length":           {with(entry("length", -1)), "negative"},
		"a length in words":           {with(entry("length", "ten")), "a string where an integer"},
		"a length that is a fraction": {with(entry("length", 1.5)), "a fraction where an integer"},
		"no length":                   {with(entry("", nil)[:2]), "no length"},
		"a negative part size":        {with(entry("part_size", -2)), "negative"},
		"a part explosion": {
			with(field(entry("length", int64(math.MaxInt64)), "part_size", 1)),
			"blobs than the limit",
		},
		"sums beyond int64": {
			with(field(entry("length", int64(math.MaxInt64)), "part_size", 0),
				field(field(field(entry("length", 1), "part_size", 0), "name", "__1"), "physical_name", "b")),
			"impossible",
		},
		"nested too deep": {rt.Frame("snapshot", append(append([]byte(":)\n\x00\xfa\x80a"),
			bytes.Repeat([]byte{0xf8}, 1<<20)...), bytes.Repeat([]byte{0xf9}, 1<<20)...), false), "nested too deep"},
	}
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			s, err := repository.ParseShardSnapshot(c.data)
			require.ErrorContains(t, err, c.want)
			assert.Nil(t, s)
			var format *repository.FormatError
			require.ErrorAs(t, err, &format)
			assert.Less(t, len(err.Error()), 500)
		})
	}
}

// entryDuplicate is a document with a name twice.
func entryDuplicate() []byte {
	return rt.Frame("snapshot", rt.Smile(append(document(), rt.Field{Name: "files", Value: []any{}})), false)
}

func TestLimits(t *testing.T) {
	bomb := rt.Frame("snapshot", make([]byte, 5<<20), true)
	require.Less(t, len(bomb), 50<<10)
	_, err := repository.Limits{MaxBody: 1 << 20}.ParseShardSnapshot(bomb)
	require.ErrorContains(t, err, "inflates to more than the limit of 1048576 bytes")

	data := rt.ShardSnapshotObject("s", files)
	_, err = repository.Limits{MaxBody: 100}.ParseShardSnapshot(data)
	require.ErrorContains(t, err, "more than the limit of 100")

	// 1 + 3 parts + 1 + 1 virtual + 1
	_, err = repository.Limits{MaxBlobs: 7}.ParseShardSnapshot(data)
	require.NoError(t, err)
	_, err = repository.Limits{MaxBlobs: 6}.ParseShardSnapshot(data)
	require.ErrorContains(t, err, "more files or blobs than the limit")
}

func FuzzParseShardSnapshot(f *testing.F) {
	shard := repository.ShardID{IndexID: "Uxom82JcSfORXgbtZ4jLSg", Number: 0}
	f.Add(rt.Smile(document()), false)
	f.Add(rt.Smile(document()), true)
	f.Add(rt.SmileOptions{SharedValues: true, SevenBit: true}.Encode(document()), false)
	f.Add([]byte(`{"name":"s","files":[{"name":"__0","physical_name":"_0.cfs","length":5,"part_size":2}]}`), false)
	f.Add(rt.Smile(rt.Object{{Name: "name", Value: "s"}, {Name: "files", Value: []any{entry("part_size", 1)}}}), false)
	limits := repository.Limits{MaxBody: 1 << 20, MaxBlobs: 1000}
	f.Fuzz(func(t *testing.T, body []byte, compress bool) {
		// Framed again, since a fuzzer doesn't find checksums.
		s, err := limits.ParseShardSnapshot(rt.Frame("snapshot", body, compress))
		if err != nil {
			return
		}
		checkDelta(t, shard, s)
		// What was understood is understood again.
		again, err := limits.ParseShardSnapshot(rt.ShardSnapshotObject(s.Name, s.Files))
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(again.Files) != fmt.Sprint(s.Files) {
			t.Fatalf("%v became %v", s.Files, again.Files)
		}
	})
}

func FuzzShardSnapshotFrame(f *testing.F) {
	f.Add(rt.ShardSnapshotObject("s", files))
	f.Add(rt.Frame("snapshot", rt.Smile(document()), true))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = repository.Limits{MaxBody: 1 << 20, MaxBlobs: 1000}.ParseShardSnapshot(data)
		_, _ = repository.ParseSnapshotInfo(data)
		_, _ = repository.ParseIndexMetadata(data)
	})
}

// checkDelta proves that the blobs of a snapshot sum up, lie in the shard's folder and vanish
// against itself.
func checkDelta(t testing.TB, shard repository.ShardID, s *repository.ShardSnapshot) {
	t.Helper()
	d, err := repository.ShardDelta(shard, s, repository.ShardID{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var total, virtual int64
	for _, file := range s.Files {
		if file.Virtual() {
			virtual += file.Length
		}
		total += file.Length
	}
	var sum int64
	for _, b := range d.Blobs {
		sum += b.Length
		k := repository.Classify(b.Key)
		if k.Class != repository.ClassData || k.Shard != shard || b.Length < 0 || k.Immutable != b.Immutable {
			t.Fatalf("bad blob %+v", b)
		}
	}
	if sum != d.Bytes || sum != total-virtual || d.SkippedBlobs != 0 {
		t.Fatalf("blobs hold %d bytes, files %d of which virtual %d", sum, total, virtual)
	}
}
