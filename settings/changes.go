package settings

import (
	"reflect"
	"strings"

	"switchbridge/internal/watched"
)

// live are the keys whose new values a running gateway can apply, with all keys below them.
var live = []string{"policy", "fail_mode", "guardrails", "limits", "log.level", "log.decisions", "openflow.subscribe", "openflow.tls",
	"function", "routes", "shadow", "admin.token_file"}

// Live reports whether a running gateway can apply a key's new value.
func Live(key string) bool {
	for _, k := range live {
		if key == k || strings.HasPrefix(key, k+".") {
			return true
		}
	}
	return false
}

// Merge returns the settings that a running gateway can use after its file has changed
// from now to next: those of next, except for keys that need a restart, which stay as in
// now. Each key that differs is in changed or in restart.
func Merge(now, next *Settings) (merged *Settings, changed, restart []string) {
	merged = new(*next)
	watched.Differences(now, merged, func(key string, a, b reflect.Value) {
		if Live(key) {
			changed = append(changed, key)
			return
		}
		restart = append(restart, key)
		b.Set(a)
	})
	return merged, changed, restart
}
