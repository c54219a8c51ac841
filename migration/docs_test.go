package migration

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The plan reference names every field, with its default, and no field that there isn't.
func TestThePlanReferenceIsComplete(t *testing.T) {
	text, err := os.ReadFile("../docs/plan.md")
	require.NoError(t, err)
	known := map[string]bool{}
	var walk func(path string, shape reflect.Type)
	walk = func(path string, shape reflect.Type) {
		for i := range shape.NumField() {
			field := shape.Field(i)
			name := join(path, fieldName(field))
			require.NotEqual(t, field.Type.Kind() != reflect.Struct, field.Tag.Get("example") == "",
				"%s has no example for errors", name)
			if field.Type.Kind() == reflect.Struct {
				walk(name, field.Type)
				continue
			}
			if ofStructs(field.Type) {
				walk(name+"[]", field.Type.Elem())
			}
			known[name] = true
			require.Contains(t, string(text), "`"+name+"`")
		}
	}
	walk("", reflect.TypeFor[Plan]())
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, name := range strings.Split(strings.Split(line, "|")[1], ",") {
			require.True(t, known[strings.Trim(strings.TrimSpace(name), "`")], "%s is documented but no field", name)
		}
	}
}
