// Package manual writes a program's man pages from its commands. The tests of the programs use it,
// and make package through them: no program carries what formats pages.
package manual

import (
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Write writes a page for each command of root to dir, compressed by gzip, and returns the pages' names.
// Their date is SOURCE_DATE_EPOCH, where that is set: then the same commands give the same bytes. Write
// changes root's texts, so root is of no use afterwards.
func Write(root *cobra.Command, dir string) ([]string, error) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	prepare(root)
	plain, err := os.MkdirTemp(dir, "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(plain)
	header := &doc.GenManHeader{Section: "1", Source: "Switchbridge", Manual: "Switchbridge"}
	if err := doc.GenManTree(root, header, plain); err != nil {
		return nil, err
	}
	pages, err := filepath.Glob(filepath.Join(plain, "*.1"))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(pages))
	for i, page := range pages {
		names[i] = filepath.Base(page) + ".gz"
		if err := compress(filepath.Join(dir, names[i]), page); err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return names, nil
}

// prepare gives texts the form that cobra's pages want: Markdown, where a block with lines of its own
// is indented by four blanks and has an empty line before it.
func prepare(c *cobra.Command) {
	c.DisableAutoGenTag = true // it has a date
	var out []string
	block := false
	for line := range strings.SplitSeq(c.Long, "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != block && line != "" {
			out = append(out, "")
		}
		block = indented
		if indented {
			line = "  " + line
		}
		out = append(out, line)
	}
	c.Long = strings.Join(out, "\n")
	for _, sub := range c.Commands() {
		prepare(sub)
	}
}

func compress(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return f.Close()
}
