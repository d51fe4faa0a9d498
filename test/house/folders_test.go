package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	row  = regexp.MustCompile(`(?m)^\| ([a-z0-9/, _-]+) \| (.+) \|$`)
	code = regexp.MustCompile("`([a-z0-9/]+)`")
)

// HACKING.md begins with a table of folders. Each folder at the top and under
// faas has a sentence there, and none is named that is gone.
func TestFolders(t *testing.T) {
	text, err := os.ReadFile("../../HACKING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| folder | what it holds |\n|---|---|\n")
	table, _, end := strings.Cut(table, "\n\n")
	if !ok || !end {
		t.Fatal("HACKING.md has no table that begins with: | folder | what it holds |")
	}
	sentence := map[string]bool{}
	for line := range strings.Lines(table + "\n") {
		m := row.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Errorf("HACKING.md: %q is no row of a folder and what it holds", line)
			continue
		}
		folders := strings.Split(m[1], ", ")
		for _, folder := range folders {
			if sentence[folder] {
				t.Errorf("HACKING.md has two rows of %s", folder)
			}
			sentence[folder] = true
			if !isFolder(folder) {
				t.Errorf("HACKING.md has a row of %s, which is no folder", folder)
			}
		}
		for _, name := range code.FindAllStringSubmatch(m[2], -1) {
			if !isFolder(name[1]) && !isFolder(filepath.Join(folders[0], name[1])) {
				t.Errorf("HACKING.md: the row of %s names `%s`, which is no folder of it", m[1], name[1])
			}
		}
	}
	folders := 0
	for _, parent := range []string{".", "faas"} {
		entries, err := os.ReadDir(filepath.Join("../..", parent))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(parent, e.Name())
			if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || name == "build" || name == "bin" || name == "faas" {
				continue
			}
			folders++
			if !sentence[name] {
				t.Errorf("HACKING.md's table has no sentence about %s", name)
			}
		}
	}
	if folders < 15 {
		t.Errorf("only %d folders were found", folders)
	}
}

func isFolder(name string) bool {
	info, err := os.Stat(filepath.Join("../..", name))
	return err == nil && info.IsDir()
}
