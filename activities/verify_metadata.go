package activities

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/snapferry/snapferry/internal/elastic"
)

// aliasDefinitions are an index's aliases by name, each with its filter, routing and so on.
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

// mapping gives a mapping in a form that can be compared. Where only one of the clusters shows
// types (7.x shows none), it is the properties of the only type.
func (v *verifying) mapping(m elastic.Mapping) json.RawMessage {
	if v.oldStrings {
		m.Raw = withoutStringDefaults(m.Raw)
	}
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

// withoutStringDefaults brings fields of type string into one form. Elasticsearch 5.x keeps them in
// indices from 2.x, but shows them differently (seen with 2.4.6 and 5.5.3): fielddata as false
// where 2.x omits it, and norms as a boolean instead of an object.
func withoutStringDefaults(raw json.RawMessage) json.RawMessage {
	var mapping any
	if json.Unmarshal(raw, &mapping) != nil {
		return raw
	}
	var visit func(value any)
	visit = func(value any) {
		fields, ok := value.(map[string]any)
		if !ok {
			return
		}
		if fields["type"] == "string" {
			if fields["fielddata"] == false {
				delete(fields, "fielddata")
			}
			if norms, ok := fields["norms"].(map[string]any); ok && len(norms) == 1 && norms["enabled"] != nil {
				fields["norms"] = norms["enabled"]
			}
		}
		for _, inner := range fields {
			visit(inner)
		}
	}
	visit(mapping)
	out, err := json.Marshal(mapping)
	if err != nil {
		return raw
	}
	return out
}

// equalJSON compares two JSON values whatever the order of their fields.
func equalJSON(a, b json.RawMessage) bool {
	var left, right any
	if json.Unmarshal(a, &left) != nil || json.Unmarshal(b, &right) != nil {
		return string(a) == string(b)
	}
	return reflect.DeepEqual(left, right)
}
