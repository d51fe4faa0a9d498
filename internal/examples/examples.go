// Package examples finds what a program's help gives as examples, so that tests can run each of them.
package examples

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Lines returns every line of the examples of a program's commands, in order. A command that can be run,
// and is no part of what cobra brings, must have one; each begins with the command.
func Lines(t *testing.T, root *cobra.Command) (lines []string) {
	t.Helper()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Hidden || c.Name() == "completion" || c.Name() == "help" || c.Parent() != nil && c.Parent().Name() == "completion" {
			return
		}
		if c.Example == "" && c.Runnable() && !c.HasSubCommands() && !c.DisableFlagParsing {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line+" ", c.CommandPath()+" ") {
				t.Errorf("%s: the example %q is of another command", c.CommandPath(), line)
			}
			lines = append(lines, line)
		}
	}
	walk(root)
	return lines
}

// Parse has a program's commands take a line's flags and arguments apart, and runs nothing: a flag, or a number
// of arguments, that the command does not take is an error.
func Parse(root *cobra.Command, line string) error {
	words, err := Words(line)
	if err != nil {
		return err
	}
	c, args, err := root.Find(words[len(strings.Fields(root.CommandPath())):])
	if err != nil {
		return err
	}
	if err := c.ParseFlags(args); err != nil {
		return err
	}
	return c.ValidateArgs(c.Flags().Args())
}

// Words are a line's, as a shell takes them apart.
func Words(line string) ([]string, error) {
	out, err := exec.Command("sh", "-c", `for word in `+line+`; do printf '%s\n' "$word"; done`).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"), nil
}
