package migration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// hostSetting finds repository settings that say where the cluster connects to, such as proxy.host
// of repository-s3 and proxy_host of Alibaba's plugin. A plan's settings are passed on unchanged, so
// such a setting sends the snapshots elsewhere as well as the plan's endpoint would.
var hostSetting = regexp.MustCompile(`(?i)(endpoint|host|hosts|hostname|url|uri|address|proxy)$`)

// settingEndpoints lists the hosts that a repository's settings name. A port in the setting beside it
// belongs to it.
func settingEndpoints(field string, settings map[string]any) (found []Endpoint) {
	flat := map[string]any{}
	flatten(flat, "", settings)
	for _, name := range slices.Sorted(mapKeys(flat)) {
		match := hostSetting.FindString(name)
		if match == "" {
			continue
		}
		hosts, _ := flat[name].([]any)
		if hosts == nil {
			hosts = []any{flat[name]}
		}
		port := flat[strings.TrimSuffix(name, match)+"port"]
		if port == nil {
			port = flat[strings.TrimSuffix(name, match)+"Port"]
		}
		for _, host := range hosts {
			text := fmt.Sprint(host)
			if host == nil || text == "" {
				continue
			}
			if port != nil && !strings.ContainsAny(text, ":/") {
				text += ":" + fmt.Sprint(port)
			}
			found = append(found, Endpoint{Field: field + "." + name, URL: text})
		}
	}
	return found
}

// flatten gives nested settings the names that Elasticsearch gives them.
func flatten(flat map[string]any, prefix string, settings map[string]any) {
	for _, name := range slices.Sorted(mapKeys(settings)) {
		if inner, nested := settings[name].(map[string]any); nested {
			flatten(flat, prefix+name+".", inner)
			continue
		}
		flat[prefix+name] = settings[name]
	}
}
