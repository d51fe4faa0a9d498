// Package sibling finds the programs that are installed together: switchbridge
// and switchbridge-bench, each of which starts the other.
package sibling

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Find returns the absolute path of the program called name: the one in the
// folder of the running program, symbolic links followed, else that on PATH. Its
// error says where it was looked for and how to get it.
func Find(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", name, err)
	}
	return find(self, name)
}

func find(self, name string) (string, error) {
	if target, err := filepath.EvalSymlinks(self); err == nil {
		self = target
	}
	dir := filepath.Dir(self)
	if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
		return filepath.Abs(path)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is missing: it is neither in %s nor on PATH; \"make build\" makes it, and so does \"go install ./cmd/%[1]s\"", name, dir)
	}
	return filepath.Abs(path)
}
