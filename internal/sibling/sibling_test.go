package sibling

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// file makes a file below dir.
func file(t *testing.T, mode os.FileMode, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFind(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	self := file(t, 0o755, dir, "opt", "switchbridge")
	beside := file(t, 0o755, dir, "opt", "switchbridge-bench")
	onPath := file(t, 0o755, dir, "bin", "switchbridge-bench")
	file(t, 0o644, dir, "opt", "notes") // no program
	notes := file(t, 0o755, dir, "bin", "notes")
	file(t, 0o755, dir, "links", "switchbridge-bench")
	link := filepath.Join(dir, "links", "switchbridge")
	if err := os.Symlink("../opt/switchbridge", link); err != nil {
		t.Fatal(err)
	}
	lonely := file(t, 0o755, dir, "lonely", "switchbridge")
	t.Setenv("PATH", filepath.Join(dir, "bin"))

	for _, row := range []struct{ what, self, name, want string }{
		{"beside it, before PATH", self, "switchbridge-bench", beside},
		{"beside what a link leads to", link, "switchbridge-bench", beside},
		{"on PATH", lonely, "switchbridge-bench", onPath},
		{"a file that can't be run is none", self, "notes", notes},
		{"this program was removed", filepath.Join(dir, "gone", "switchbridge"), "switchbridge-bench", onPath},
	} {
		if got, err := find(row.self, row.name); got != row.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", row.what, got, err, row.want)
		}
	}

	t.Setenv("PATH", filepath.Join(dir, "nothing"))
	_, err = find(lonely, "switchbridge-bench")
	if err == nil {
		t.Fatal("it was found nowhere")
	}
	for _, want := range []string{"switchbridge-bench is missing", filepath.Dir(lonely), "PATH", "make build", "go install ./cmd/switchbridge-bench"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: it doesn't say %q", err, want)
		}
	}
}
