package activities

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
)

// aliasDefinitions are an index's aliases: filter, routing and so on by name.
type aliasDefinitions = map[string]json.RawMessage

func aliasesDiffer(source, target aliasDefinitions) []string {
	var different []string
	for _, name := range slices.Sorted(maps.Keys(source)) {
		definition, there := target[name]
		switch {
		case !there:
			different = append(different, fmt.Sprintf("alias %s is missing on the target", name))
		case !equalJSON(source[name], definition):
			different = append(different, fmt.Sprintf("alias %s is defined differently", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(target)) {
		if _, there := source[name]; !there {
			different = append(different, fmt.Sprintf("alias %s is on the target only", name))
		}
	}
	return different
}

// mapping gives a mapping in a form that compares: where only one of the
// clusters shows types (7.x doesn't), the one type's properties.
func (v *verifying) mapping(m elastic.Mapping) json.RawMessage {
	if !v.ignoreTypes || len(m.Types) != 1 {
		return m.Raw
	}
	var types map[string]json.RawMessage
	if json.Unmarshal(m.Raw, &types) != nil {
		return m.Raw
	}
	if properties, ok := types[m.Types[0]]; ok && len(types) == 1 {
		return properties
	}
	return m.Raw
}

// equalJSON compares two JSON values whatever the order of their fields.
func equalJSON(a, b json.RawMessage) bool {
	var left, right any
	if json.Unmarshal(a, &left) != nil || json.Unmarshal(b, &right) != nil {
		return string(a) == string(b)
	}
	return reflect.DeepEqual(left, right)
}
