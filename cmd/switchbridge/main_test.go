package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"switchbridge/cmd/internal/cli"
)

// A mistake in the command line is told from a failure by the exit code.
func TestUsageErrors(t *testing.T) {
	for line, usage := range map[string]bool{
		"rnu":                      true,
		"function srve":            true,
		"policy chekc":             true,
		"p4 inof":                  true,
		"policy push elsewhere":    true,
		"run --no-such-flag":       true,
		"run surplus":              true,
		"policy eval a":            true,
		"policy check nosuch.yaml": false,
		"replay":                   true,
	} {
		c := rootCommand()
		c.SetArgs(strings.Fields(line))
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		err := c.Execute()
		var ue cli.UsageError
		if err == nil || errors.As(err, &ue) != usage {
			t.Errorf("switchbridge %s: %v, usage error: want %v", line, err, usage)
		}
	}
}
