package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"switchbridge/cmd/internal/cli"
)

// A mistake in the command line is told from a failure by the exit code, and
// told in the words that a user typed.
func TestErrors(t *testing.T) {
	for _, row := range []struct {
		line  string
		usage bool
		want  string
	}{
		{"contoller", true, "no command of switchbridge bench (did you mean controller?)"},
		{"controller --nosuch", true, "see switchbridge bench controller --help"},
		{"controller surplus", true, "bench controller takes no argument"},
		{"controller --openflow 1.5", true, "--openflow"},
		{"function", true, "bench function wants a function's URL"},
		{"function --encoding xml http://127.0.0.1:1/", true, "--encoding"},
		{"paper", true, "--out"},
		{"controller --target unix:nosuch --runs 1", false, "nosuch"},
	} {
		c := rootCommand()
		c.SetArgs(strings.Fields(row.line))
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		err := c.Execute()
		var ue cli.UsageError
		if err == nil || errors.As(err, &ue) != row.usage || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q, usage error: %v", row.line, err, row.want, row.usage)
		}
	}
}
