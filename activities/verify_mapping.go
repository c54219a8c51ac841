package activities

import (
	"encoding/json"
	"reflect"

	"github.com/snapferry/snapferry/internal/elastic"
)

// mapping gives a mapping in a form that can be compared, whatever versions show it. Where only one
// of the clusters shows types (7.x shows none), it is the properties of the only type.
func (d defining) mapping(m elastic.Mapping) json.RawMessage {
	if d.oldStrings {
		m.Raw = withoutStringDefaults(m.Raw)
	}
	var types map[string]json.RawMessage
	if json.Unmarshal(m.Raw, &types) != nil {
		return m.Raw
	}
	changed := false
	for name, raw := range types {
		if root, ok := withoutDefaultAll(raw); ok {
			types[name], changed = root, true
		}
	}
	if d.ignoreTypes && len(m.Types) == 1 && len(types) == 1 && types[m.Types[0]] != nil {
		return types[m.Types[0]]
	}
	if !changed {
		return m.Raw
	}
	raw, err := json.Marshal(types)
	if err != nil {
		return m.Raw
	}
	return raw
}

// withoutDefaultAll leaves out that a type has the field _all. Indices from 5.x have it unless they
// say otherwise, and 6.x shows that of each of them where 5.x shows nothing (seen with 5.5.2 and
// 6.8.23).
func withoutDefaultAll(raw json.RawMessage) (json.RawMessage, bool) {
	var root map[string]json.RawMessage
	if json.Unmarshal(raw, &root) != nil || root["_all"] == nil {
		return nil, false
	}
	if !equalJSON(root["_all"], json.RawMessage(`{"enabled":true}`)) {
		return nil, false
	}
	delete(root, "_all")
	out, err := json.Marshal(root)
	return out, err == nil
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
