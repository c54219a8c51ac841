package workflows

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/golden"
	"github.com/snapferry/snapferry/migration"
)

// A run that continues as new hands its state to a worker that may be newer, and a rollback hands
// it to one that may be older. So the JSON of the state keeps its fields, wherever they stand in
// the code.
func TestTheStateKeepsItsJSON(t *testing.T) {
	const file = "testdata/carried.json"
	var full Carried
	fill(reflect.ValueOf(&full).Elem(), "")
	text, err := json.Marshal(full)
	require.NoError(t, err)
	var sorted any // the order of the fields means nothing
	require.NoError(t, json.Unmarshal(text, &sorted))
	text, err = json.MarshalIndent(sorted, "", "  ")
	require.NoError(t, err)
	golden.Equal(t, file, append(text, '\n'))

	recorded, err := os.ReadFile(file)
	require.NoError(t, err)
	var back Carried
	decoder := json.NewDecoder(bytes.NewReader(recorded))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&back))
	require.Equal(t, full, back)
}

// fill gives every field that JSON sees a value that isn't zero and follows from the field's name.
func fill(v reflect.Value, name string) {
	switch v.Type() {
	case reflect.TypeFor[migration.IndexList](): // of its two forms the one that histories have
		fill(v.FieldByName("Inline"), name)
		return
	}
	if strings.HasPrefix(v.Type().Name(), "Stored[") {
		v.FieldByName("Digest").SetString(strings.Repeat("ab", 32))
		v.FieldByName("Entries").SetInt(int64(len(name)))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), name)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, name)
		fill(value, name)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			fill(v.Field(i), tag)
		}
	case reflect.String:
		v.SetString(name)
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.SetInt(int64(len(name)))
	}
}
