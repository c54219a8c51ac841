package repository

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// all reads every token of a Smile document.
func all(doc []byte) ([]token, error) {
	s, err := newSmileTokens(doc)
	if err != nil {
		return nil, err
	}
	var out []token
	for {
		t, err := s.next()
		if err != nil {
			return nil, err
		}
		if t.kind == kindEnd {
			return out, nil
		}
		out = append(out, t)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(s, " ", ""), "\n", ""))
	require.NoError(t, err)
	return raw
}

func integer(n int64) token { return token{kind: kindInt, int: n} }
func str(s string) token    { return token{kind: kindString, str: s} }
func name(s string) token   { return token{kind: kindName, str: s} }

var (
	beginObject = token{kind: kindBeginObject}
	endObject   = token{kind: kindEndObject}
	beginArray  = token{kind: kindBeginArray}
	endArray    = token{kind: kindEndArray}
)

// The bytes are written by hand from the Smile format specification 1.0.4, after the header 3a290a.
func TestSmileGolden(t *testing.T) {
	for title, c := range map[string]struct {
		doc  string
		want []token
	}{
		"null":              {"00 21", []token{{kind: kindNull}}},
		"false":             {"00 22", []token{{kind: kindBool}}},
		"true":              {"00 23", []token{{kind: kindBool, int: 1}}},
		"empty string":      {"00 20", []token{str("")}},
		"small integer 0":   {"00 c0", []token{integer(0)}},
		"small integer -1":  {"00 c1", []token{integer(-1)}},
		"small integer 15":  {"00 de", []token{integer(15)}},
		"small integer -16": {"00 df", []token{integer(-16)}},
		"32 bit: 16":        {"00 24 a0", []token{integer(16)}},       // zigzag 32 in 6 bits
		"32 bit: 32":        {"00 24 01 80", []token{integer(32)}},    // zigzag 64
		"32 bit: -1000":     {"00 24 1f 8f", []token{integer(-1000)}}, // zigzag 1999 = 31<<6 | 15
		"32 bit: largest":   {"00 24 1f 7f 7f 7f be", []token{integer(math.MaxInt32)}},
		"32 bit: smallest":  {"00 24 1f 7f 7f 7f bf", []token{integer(math.MinInt32)}},
		"64 bit: largest":   {"00 25 03 7f 7f 7f 7f 7f 7f 7f 7f be", []token{integer(math.MaxInt64)}},
		"64 bit: smallest":  {"00 25 03 7f 7f 7f 7f 7f 7f 7f 7f bf", []token{integer(math.MinInt64)}},
		// 3f800000
		"float 1": {"00 28 03 7c 00 00 00", []token{{kind: kindFloat, float: 1}}},
		// 3ff0<<48
		"double 1": {"00 29 00 3f 78 00 00 00 00 00 00 00", []token{{kind: kindFloat, float: 1}}},
		// c000<<48
		"double -2":            {"00 29 01 40 00 00 00 00 00 00 00 00", []token{{kind: kindFloat, float: -2}}},
		"big integer":          {"00 26 81 00 01", []token{{kind: kindNumber}}},
		"big decimal":          {"00 2a 84 81 00 01", []token{{kind: kindNumber}}},
		"tiny ASCII":           {"00 42 616263", []token{str("abc")}},
		"short ASCII of 33":    {"00 60" + strings.Repeat("61", 33), []token{str(strings.Repeat("a", 33))}},
		"short ASCII of 64":    {"00 7f" + strings.Repeat("61", 64), []token{str(strings.Repeat("a", 64))}},
		"tiny Unicode":         {"00 80 c3a9", []token{str("é")}},
		"short Unicode of 34":  {"00 a0" + strings.Repeat("c3a9", 17), []token{str(strings.Repeat("é", 17))}},
		"long ASCII":           {"00 e0 6869 fc", []token{str("hi")}},
		"long Unicode":         {"00 e4 e282ac fc", []token{str("€")}},
		"raw binary":           {"04 fd 83 00ff3a", []token{{kind: kindBytes, bytes: []byte{0, 0xff, 0x3a}}}},
		"empty raw binary":     {"04 fd 80", []token{{kind: kindBytes, bytes: []byte{}}}},
		"7-bit binary, 1 byte": {"00 e8 81 7f 01", []token{{kind: kindBytes, bytes: []byte{0xff}}}},
		"7-bit binary, 7 bytes": {
			"00 e8 87 7f7f7f7f7f7f7f7f",
			[]token{{kind: kindBytes, bytes: []byte{255, 255, 255, 255, 255, 255, 255}}},
		},
		"7-bit binary, 8 bytes": {
			"00 e8 88 0000000000000001 40 00",
			[]token{{kind: kindBytes, bytes: []byte{0, 0, 0, 0, 0, 0, 1, 0x80}}},
		},
		"array": {
			"00 f8 c2 f8 f9 f9",
			[]token{beginArray, integer(1), beginArray, endArray, endArray},
		},
		"object":               {"00 fa 80 61 c2 fb", []token{beginObject, name("a"), integer(1), endObject}},
		"object, empty name":   {"00 fa 20 21 fb", []token{beginObject, name(""), {kind: kindNull}, endObject}},
		"object, Unicode name": {"00 fa c0 c3a9 c2 fb", []token{beginObject, name("é"), integer(1), endObject}},
		"object, long name":    {"00 fa 34 6162 fc c2 fb", []token{beginObject, name("ab"), integer(1), endObject}},
		"end marker":           {"00 c2 ff", []token{integer(1)}},
		"shared name": {
			"01 f8 fa 80 61 c2 fb fa 40 c4 fb f9",
			[]token{
				beginArray, beginObject, name("a"), integer(1), endObject, beginObject, name("a"), integer(2),
				endObject, endArray,
			},
		},
		"shared value": {
			"02 f8 40 61 41 6262 02 01 f9",
			[]token{beginArray, str("a"), str("bb"), str("bb"), str("a"), endArray},
		},
		"long strings don't share": {
			"02 f8 e0 61 fc 40 62 01 f9",
			[]token{beginArray, str("a"), str("b"), str("b"), endArray},
		},
		"files, as Elasticsearch's": {
			"05 fa 84 66696c6573 f8 fa 83 6e616d65 42 5f5f30 85 6c656e677468 24 01b9 fb f9 fb",
			[]token{
				beginObject, name("files"), beginArray, beginObject, name("name"), str("__0"), name("length"),
				integer(-61), endObject, endArray, endObject,
			},
		},
	} {
		t.Run(title, func(t *testing.T) {
			got, err := all(unhex(t, "3a290a"+c.doc))
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestSmileRefuses(t *testing.T) {
	for title, doc := range map[string]string{
		"nothing":                      "",
		"no header":                    "fa fb",
		"another version":              "3a290a 10 21",
		"a header alone":               "3a290a 00",
		"a second value":               "3a290a 00 21 21",
		"bytes after the end marker":   "3a290a 00 21 ff 00",
		"a reserved byte":              "3a290a 00 2b",
		"value reference 0":            "3a290a 02 00",
		"a header inside":              "3a290a 00 f8 3a290a00 f9",
		"an open object":               "3a290a 00 fa",
		"a name without value":         "3a290a 00 fa 80 61 fb",
		"an array closed as an object": "3a290a 00 f8 fb",
		"an object closed as an array": "3a290a 00 fa f9",
		"an end without beginning":     "3a290a 00 f9",
		"a string cut short":           "3a290a 00 42 6161",
		"a long string without end":    "3a290a 00 e0 6161",
		"a string not in UTF-8":        "3a290a 00 80 ffff",
		"a number without end":         "3a290a 00 24 01",
		"a number too long":            "3a290a 00 24 01 01 01 01 01 80",
		"a 32-bit number too large":    "3a290a 00 24 7f 7f 7f 7f bf",
		"a number over 64 bits":        "3a290a 00 25 7f 7f 7f 7f 7f 7f 7f 7f 7f bf",
		"a last byte with bit 6":       "3a290a 00 24 c0",
		"a float cut short":            "3a290a 00 28 00 00",
		"a float with a high bit":      "3a290a 00 28 80 00 00 00 00",
		"a float over 32 bits":         "3a290a 00 28 10 00 00 00 00",
		"raw binary not announced":     "3a290a 00 fd 81 00",
		"raw binary longer than all":   "3a290a 04 fd 01 80 00",
		"raw binary of 2^63 bytes":     "3a290a 04 fd 02 00 00 00 00 00 00 00 00 80",
		"7-bit binary cut short":       "3a290a 00 e8 82 00 00",
		"7-bit binary with high bits":  "3a290a 00 e8 81 80 00",
		"7-bit binary with padding":    "3a290a 00 e8 81 00 02",
		"a name never given":           "3a290a 01 fa 40 c2 fb",
		"a long name never given":      "3a290a 01 fa 31 00 c2 fb",
		"a value never given":          "3a290a 02 f8 01 f9",
		"a long value never given":     "3a290a 02 f8 ec 40 f9",
		"names not shared":             "3a290a 00 f8 fa 80 61 c2 fb fa 40 c4 fb f9",
	} {
		t.Run(title, func(t *testing.T) {
			_, err := all(unhex(t, doc))
			assert.Error(t, err)
		})
	}
}

func TestSmileRefusesDepth(t *testing.T) {
	deep := func(n int) []byte {
		return append(append([]byte(":)\n\x00"), strings.Repeat("\xf8", n)...), strings.Repeat("\xf9", n)...)
	}
	_, err := all(deep(maxDepth))
	require.NoError(t, err)
	_, err = all(deep(maxDepth + 1))
	require.ErrorContains(t, err, "nested too deep")
}

func FuzzSmile(f *testing.F) {
	for _, doc := range []string{
		"3a290a 05 fa 84 66696c6573 f8 fa 83 6e616d65 42 5f5f30 85 6c656e677468 24 01b9 fb f9 fb",
		"3a290a 02 f8 40 61 41 6262 02 01 ec 1f f9", "3a290a 01 f8 fa 80 61 c2 fb fa 40 c4 fb f9 ff",
		"3a290a 04 fd 83 00ff3a", "3a290a 00 e8 88 0000000000000001 40 00", "3a290a 00 2a 84 81 00 01",
		"3a290a 00 29 00 3f 78 00 00 00 00 00 00 00", "3a290a 00 28 03 7c 00 00 00", "3a290a 00 e4 e282ac fc",
		"3a290a 00 fa 34 6162 fc 25 03 7f 7f 7f 7f 7f 7f 7f 7f be 20 21 fb",
	} {
		f.Add(unhex(f, doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		tokens, err := all(doc)
		if err != nil {
			return
		}
		if len(tokens) > len(doc) {
			t.Fatalf("%d tokens out of %d bytes", len(tokens), len(doc))
		}
		depth, ended := 0, 0
		for _, token := range tokens {
			switch token.kind {
			case kindBeginArray, kindBeginObject:
				depth++
			case kindEndArray, kindEndObject:
				depth--
			}
			if depth == 0 {
				ended++
			}
		}
		if depth != 0 || ended != 1 {
			t.Fatalf("not one value: depth %d, %d ends", depth, ended)
		}
	})
}
