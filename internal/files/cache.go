package files

import (
	"os"
	"path/filepath"
)

// CacheDir is where programs of Switchbridge keep what they can get again, from one start to the next; empty when the system has no place for it.
func CacheDir() string {
	if dir := os.Getenv("CACHE_DIRECTORY"); dir != "" { // systemd's CacheDirectory=
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "switchbridge")
}
