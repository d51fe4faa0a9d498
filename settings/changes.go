package settings

import (
	"reflect"
	"strings"

	"switchbridge/internal/watched"
)

// live are the keys that a running gateway can take over, with all below each.
var live = []string{"policy", "fail_mode", "guardrails", "limits", "log.level", "log.decisions", "openflow.subscribe", "openflow.tls",
	"function", "routes", "shadow", "admin.token_file"}

// Live reports whether a running gateway can take a key's new value over.
func Live(key string) bool {
	for _, k := range live {
		if key == k || strings.HasPrefix(key, k+".") {
			return true
		}
	}
	return false
}

// Merge returns what a gateway that runs by now can run by when next is what its
// file says: next, with the keys that need a restart as they are in now. Keys
// that differ are in changed or in restart.
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
