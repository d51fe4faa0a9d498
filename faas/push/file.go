package push

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"switchbridge/faas/bounded"
	"switchbridge/faas/guest"
)

// File is a file that a function beside it reads, or that is packed with one.
type File struct {
	Path string
}

// Plan returns what would be written. Who reads the file meets the old policy or the new one, whole.
func (f File) Plan(blob []byte) (*Plan, error) {
	if err := missing("the file's path", f.Path); err != nil {
		return nil, err
	}
	if err := checkSize(blob); err != nil {
		return nil, err
	}
	return &Plan{Target: "file", blob: blob, read: f.read, Writes: []Write{{
		Store: filepath.Dir(f.Path), Key: filepath.Base(f.Path), Size: len(blob),
		do: func(context.Context) error { return replace(f.Path, blob) },
	}}}, nil
}

func (f File) read(context.Context) ([]byte, error) {
	b, err := bounded.ReadFile(f.Path, guest.MaxPolicy)
	if err == nil {
		err = checkSize(b)
	}
	return b, err
}

// replace writes beside path and renames: that replaces whole or not at all.
// What a symbolic link leads to is replaced, and never a device or a directory.
func replace(path string, blob []byte) (err error) {
	mode := os.FileMode(0o644)
	if old, e := os.Stat(path); e == nil {
		if !old.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path)
		}
		mode = old.Mode().Perm()
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".policy-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close() // a second close only says so
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(blob); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
