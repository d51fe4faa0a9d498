package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// docs/README.md is the contents of docs: it has a link to each page.
func TestContents(t *testing.T) {
	const docs = "../../docs"
	text, err := os.ReadFile(filepath.Join(docs, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"README.md": true}
	for _, m := range link.FindAllStringSubmatch(string(text), -1) {
		file, _, _ := strings.Cut(m[1], "#")
		listed[filepath.Clean(file)] = true
	}
	err = filepath.WalkDir(docs, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		page, err := filepath.Rel(docs, path)
		if err == nil && !listed[page] {
			t.Errorf("docs/README.md has no link to %s", page)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
