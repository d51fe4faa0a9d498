package manual

import (
	"bytes"
	"compress/gzip"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var keep = flag.String("man", "", "folder to leave the man pages in")

// Check writes a program's pages and has groff read them: groff warns of nothing, and each page named in lines has
// that line, which is one of an example's, unbroken. With -man DIR the pages stay there, which is how make package gets them.
func Check(t *testing.T, root func() *cobra.Command, lines map[string]string) {
	dir := t.TempDir()
	if *keep != "" {
		dir = *keep
	}
	names, err := Write(root(), dir)
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	var count func(c *cobra.Command)
	count = func(c *cobra.Command) {
		if c.IsAvailableCommand() || c == c.Root() {
			commands++
		}
		for _, sub := range c.Commands() {
			count(sub)
		}
	}
	count(root())
	if len(names) < commands {
		t.Errorf("%d pages of %d commands", len(names), commands)
	}
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("there is no groff to read the pages with")
	}
	for _, name := range names {
		c := exec.Command(groff, "-man", "-Tutf8", "-ww", "-P-cbou")
		c.Stdin = bytes.NewReader(uncompress(t, filepath.Join(dir, name)))
		var warnings bytes.Buffer
		c.Stderr = &warnings
		out, err := c.Output()
		if err != nil || warnings.Len() > 0 {
			t.Errorf("groff reads %s: %v\n%s", name, err, &warnings)
		}
		if want := lines[name]; want != "" && !strings.Contains(strings.ReplaceAll(string(out), "\n ", "\n"), " "+want+"\n") {
			t.Errorf("%s has no line %q:\n%s", name, want, out)
		}
		delete(lines, name)
	}
	if len(lines) > 0 {
		t.Errorf("there are no such pages: %q", lines)
	}
}

func uncompress(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
