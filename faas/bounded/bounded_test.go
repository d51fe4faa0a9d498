package bounded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if _, err := ReadFile(path, 9); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that isn't there: %v", err)
	}
	if err := os.WriteFile(path, []byte("123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(path, 9); err != nil || string(b) != "123456789" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := ReadFile(path, 8); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "larger than 8 bytes") {
		t.Errorf("too large: %v", err)
	}
	if _, err := ReadFile(filepath.Dir(path), 9); err == nil {
		t.Error("a directory was read")
	}
	// One that never ends, and has no size.
	if _, err := os.Stat("/dev/zero"); err == nil {
		if _, err := ReadFile("/dev/zero", 1<<20); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("a device: %v", err)
		}
	}
}
