package rotate

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(path, 100, 3)
	if err != nil {
		t.Fatal(err)
	}
	const lines = 200 // of ten bytes: 2,000 bytes in files of 100
	for i := range lines {
		if n, err := fmt.Fprintf(w, "line %04d\n", i); n != 10 || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 4 {
		t.Fatalf("%d files, want 1 and 3 older", len(entries))
	}
	all := ""
	for _, name := range []string{path + ".3", path + ".2", path + ".1", path} {
		b, err := os.ReadFile(name)
		if err != nil || len(b) > 100 || len(b)%10 != 0 {
			t.Fatalf("%s: %d bytes, %v", name, len(b), err)
		}
		all += string(b)
	}
	for i := range len(all) / 10 { // without a gap, to the last
		if want := fmt.Sprintf("line %04d\n", lines-len(all)/10+i); all[10*i:10*i+10] != want {
			t.Errorf("line %q, want %q", all[10*i:10*i+10], want)
		}
	}
	if len(all) < 300 {
		t.Errorf("%d bytes are kept", len(all))
	}
}

// A folder that goes and comes back costs what is written meanwhile.
func TestWritesAgainAfterAFault(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	os.Mkdir(dir, 0o700)
	path := filepath.Join(dir, "records")
	w, err := Open(path, 20, 1)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("0123456789012345678\n"))
	os.RemoveAll(dir)
	if _, err := w.Write([]byte("lost\n")); err == nil {
		t.Error("a write to nowhere is none")
	}
	os.Mkdir(dir, 0o700)
	if _, err := w.Write([]byte("again\n")); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "again\n" {
		t.Errorf("the file has %q", b)
	}
	if _, err := Open(dir, 1, 1); err == nil {
		t.Error("a folder is no file")
	}
	if _, err := Open("/dev/null", 1, 1); err == nil {
		t.Error("a device can't be rotated")
	}
}
