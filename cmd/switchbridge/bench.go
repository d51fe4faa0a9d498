package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"switchbridge/internal/sibling"
)

// benchProgram has the commands below bench, which a gateway doesn't carry.
const benchProgram = "switchbridge-bench"

// benchCommand is switchbridge-bench, to which it leaves flags, help and completion.
func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:                "bench",
		Short:              "Measure controllers",
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return becomeBench(args) },
		ValidArgsFunction:  completeBench,
	}
	c.SetHelpFunc(func(c *cobra.Command, _ []string) { // of "switchbridge help bench ...": the words are that command's
		var words []string
		if help, _, err := c.Root().Find([]string{"help"}); err == nil && help.Flags().NArg() > 0 {
			words = help.Flags().Args()[1:]
		}
		c.PrintErrln("switchbridge:", becomeBench(append([]string{"help"}, words...)))
	})
	return c
}

// becomeBench makes this process switchbridge-bench. It returns only where that fails.
func becomeBench(args []string) error {
	path, err := sibling.Find(benchProgram)
	if err != nil {
		return err
	}
	err = syscall.Exec(path, append([]string{benchProgram}, args...), os.Environ())
	return &os.PathError{Op: "exec", Path: path, Err: err}
}

// completeBench asks switchbridge-bench, in the way in which a shell asks a program.
func completeBench(c *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	path, err := sibling.Find(benchProgram)
	if err != nil {
		return cobra.AppendActiveHelp(nil, err.Error()), cobra.ShellCompDirectiveNoFileComp
	}
	ask := append([]string{cobra.ShellCompRequestCmd}, args...)
	out, err := exec.CommandContext(c.Context(), path, append(ask, toComplete)...).Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	// One completion a line, and a colon with the directive in the last.
	lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
	last := len(lines) - 1
	directive, err := strconv.Atoi(strings.TrimPrefix(lines[last], ":"))
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return lines[:last], cobra.ShellCompDirective(directive)
}
