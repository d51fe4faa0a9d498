package bbolt

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"switchbridge/state"
	"switchbridge/state/access"
)

// A file that is damaged or away while it is open is an error of each question: no crash, no waiting, and never "there is none".
func TestDamagedFile(t *testing.T) {
	for _, row := range []struct {
		name   string
		damage func(path string, size int) error
		want   error // nil: any
	}{
		{"cut short", func(path string, _ int) error { return os.Truncate(path, 0) }, state.ErrCorrupt},
		{"written over", func(path string, size int) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(bytes.Repeat([]byte{0xa5}, size))
			return errors.Join(err, f.Close())
		}, state.ErrCorrupt},
		{"zeroes", func(path string, size int) error {
			return errors.Join(os.Truncate(path, 0), os.Truncate(path, int64(size)))
		}, state.ErrCorrupt},
		{"moved away", func(path string, _ int) error { return os.Rename(path, path+".old") }, nil},
		{"removed", func(path string, _ int) error { return os.Remove(path) }, nil},
		{"another file in its place", func(path string, _ int) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "states")
			s, err := Open(t.Context(), access.Options{URL: &url.URL{Scheme: "bbolt", Opaque: path}})
			if err != nil {
				t.Fatal(err)
			}
			var version uint64
			for key := byte('a'); key <= 'z'; key++ {
				if version, err = s.CompareAndSwap(t.Context(), string(key), 0, make([]byte, 900), 0); err != nil {
					t.Fatal(err)
				}
			}
			file, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := row.damage(path, int(file.Size())); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			wrong := func(what string, err error) {
				if err == nil || ctx.Err() != nil || row.want != nil && !errors.Is(err, row.want) {
					t.Errorf("%s: %v, want %v", what, err, row.want)
				}
			}
			for range 2 {
				wrong("get", s.Get(ctx, []string{"z"}, make([]state.Value, 1)))
				_, err = s.CompareAndSwap(ctx, "z", version, nil, 0)
				wrong("swap", err)
				wrong("delete", s.Delete(ctx, "z", version))
			}
			if row.name == "moved away" { // and back
				if err := os.Rename(path+".old", path); err != nil {
					t.Fatal(err)
				}
				v := make([]state.Value, 1)
				if err := s.Get(ctx, []string{"z"}, v); err != nil || v[0].Version != version {
					t.Errorf("back again: %+v, %v", v[0], err)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
