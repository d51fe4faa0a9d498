package tokenfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	stamp := time.Now().Add(-time.Hour)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stamp = stamp.Add(time.Minute)
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	const older, newer = "Bearer the older token 1", "Bearer the newer token 2"
	if _, err := Open(path, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	write("the older token 1\n")
	f, err := Open(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, olderOK, newerOK bool) {
		t.Helper()
		_, _ = f.Look(t.Context(), false)
		if got := f.Check(older) == nil; got != olderOK {
			t.Errorf("%s: the older token is let in: %v", when, got)
		}
		if got := f.Check(newer) == nil; got != newerOK {
			t.Errorf("%s: the newer token is let in: %v", when, got)
		}
	}
	check("at first", true, false)
	write("the older token 1\nthe newer token 2\n")
	check("during the rotation", true, true)
	write("the newer token 2\n")
	check("after it", false, true)
	write("oops\n")
	check("with a broken file", false, true)
	if f.Err() == nil {
		t.Error("nothing tells of the broken file")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("without a file", false, true)
	write("the newer token 2\n")
	check("with the file again", false, true)
	if err := f.Err(); err != nil {
		t.Error(err)
	}
}
