package files

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

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, row := range []struct {
		content string
		mode    fs.FileMode
	}{{"first", 0o600}, {"a second, longer one", 0o644}, {"", 0o400}, {"over one that can't be written", 0o600}} {
		if err := Replace(path, []byte(row.content), row.mode); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != row.content {
			t.Errorf("%q, %v; want %q", got, err, row.content)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != row.mode {
			t.Errorf("mode %v, %v; want %v", info.Mode(), err, row.mode)
		}
	}
	if err := Replace(filepath.Join(dir, "none", "file"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that isn't there: %v", err)
	}
	full := filepath.Join(dir, "folder")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(full, nil, 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: something is left behind", entries, err)
	}
}
