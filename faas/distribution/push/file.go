package push

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"switchbridge/faas/instance/guest"
	"switchbridge/internal/files"
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
	b, err := files.ReadFile(f.Path, guest.MaxPolicy)
	if err == nil {
		err = checkSize(b)
	}
	return b, err
}

// replace replaces what a symbolic link leads to, and never a device or a directory.
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
	return files.Replace(path, blob, mode)
}
