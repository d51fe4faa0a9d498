package ovs

import (
	"os"
	"os/exec"
	"path/filepath"
)

// need returns the paths of the named programs. Where one is missing the test is skipped with the reason;
// on a machine that promises to have them (CI is set, and `make test` installs them) it fails instead, so
// that a broken installation can't pass as a green run.
func need(tb TB, names ...string) map[string]string {
	tb.Helper()
	paths := make(map[string]string, len(names))
	for _, name := range names {
		path, err := lookTool(name)
		if err != nil {
			unavailable(tb, "%s is not installed (make setup installs what the tests use)", name)
		}
		paths[name] = path
	}
	return paths
}

// lookTool finds a program in PATH and in the sbin folders, which an ordinary user's PATH leaves out on
// Debian.
func lookTool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

func unavailable(tb TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}
