// Package rotate writes a file that does not grow for ever: at a size it becomes
// FILE.1, what that was becomes FILE.2, and so on to a number of files.
//
// Limits: one process writes a file, and one goroutine at a time.
package rotate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// File is a file that is rotated.
type File struct {
	path string
	max  int64
	keep int

	f    *os.File // nil: it must be opened again
	size int64
}

// Open opens path to append to it. It is rotated before it would have more than
// max bytes, and keep older ones stay.
func Open(path string, max int64, keep int) (*File, error) {
	w := &File{path: path, max: max, keep: keep}
	return w, w.open()
}

func (w *File) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a file that can be rotated", w.path)
	}
	if err != nil {
		f.Close()
		return err
	}
	w.f, w.size = f, info.Size()
	return nil
}

// Write appends b as a whole to one file. After an error the next Write tries
// again with the file opened anew.
func (w *File) Write(b []byte) (int, error) {
	if w.f != nil && w.size > 0 && w.size+int64(len(b)) > w.max {
		if err := w.rotate(); err != nil {
			return 0, err
		}
	}
	if w.f == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	n, err := w.f.Write(b)
	w.size += int64(n)
	if err != nil {
		w.f.Close()
		w.f = nil
	}
	return n, err
}

func (w *File) name(i int) string {
	if i == 0 {
		return w.path
	}
	return w.path + "." + strconv.Itoa(i)
}

func (w *File) rotate() error {
	err := w.f.Close()
	w.f = nil
	if err != nil {
		return err
	}
	if w.keep == 0 {
		return os.Remove(w.path)
	}
	for i := w.keep - 1; i >= 0; i-- {
		if err := os.Rename(w.name(i), w.name(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close closes the file.
func (w *File) Close() error {
	if w.f == nil {
		return nil
	}
	return w.f.Close()
}
