// Package cli is what the commands of switchbridge and switchbridge-bench have
// in common: how they end, what a mistake in the command line is, and how those
// that measure a function reach it.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"switchbridge/flow"
)

// Exit codes, beyond 0 for success and 1 for failure.
const exitUsage = 2

// UsageError is a mistake in the command line, which ends the program with a
// code of its own.
type UsageError struct{ err error }

func (e UsageError) Error() string { return e.err.Error() }
func (e UsageError) Unwrap() error { return e.err }

// Usage makes err a UsageError.
func Usage(err error) error { return UsageError{err} }

// Usagef is fmt.Errorf that makes a UsageError.
func Usagef(format string, a ...any) error { return UsageError{fmt.Errorf(format, a...)} }

// Main runs the command that the command line names, until it ends or a signal
// ends it, and exits with its code.
func Main(root *cobra.Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := root.ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(Shown(os.Stderr), "switchbridge:", err)
	var usage UsageError
	if errors.As(err, &usage) {
		os.Exit(exitUsage)
	}
	os.Exit(1)
}

// Prepare gives a program's commands, which are all below root by now, what
// they have in common: errors that Main prints, words that are no command refused, and nothing
// on a terminal that it would take for more than text.
func Prepare(root *cobra.Command, version string) {
	root.SilenceUsage, root.SilenceErrors = true, true
	if term.IsTerminal(int(os.Stdout.Fd())) {
		root.SetOut(Shown(os.Stdout))
	}
	root.Version = Version(version) // printed as cobra does: its templates would keep all methods of all linked types
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return Usagef("%w (see %s --help)", err, c.CommandPath())
	})
	nameCommands(root)
}

// nameCommands has a command that only holds others refuse a word that is none of them, where cobra
// would print the help and call that a success.
func nameCommands(c *cobra.Command) {
	for _, sub := range c.Commands() {
		nameCommands(sub)
	}
	if !c.HasSubCommands() || c.Runnable() {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		c.SuggestionsMinimumDistance = 2
		hint := "see " + c.CommandPath() + " --help"
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return Usagef("%q is no command of %s (%s)", args[0], c.CommandPath(), hint)
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.DisableFlagsInUseLine = true
}

// Version is the one that the build set, or what the Go toolchain recorded.
func Version(set string) string { return ThisBuild(set).Version }

// Exactly is cobra's ExactArgs, with a UsageError that says what is wanted.
func Exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return Usagef("%s wants %s", commandName(c), what)
		}
		return nil
	}
}

// NoArgs is cobra's, with a UsageError.
func NoArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("%s takes no argument, but got %q (see --help)", commandName(c), args[0])
	}
	return nil
}

// commandName is the command without the program, whose name stands before every error.
func commandName(c *cobra.Command) string {
	path := c.CommandPath()
	if _, name, ok := strings.Cut(path, " "); ok {
		return name
	}
	return path
}

// OpenFlowVersion is what a flag --openflow says: 1.0 or 1.3.
func OpenFlowVersion(value string) (flow.Protocol, error) {
	p, err := flow.ParseProtocol(value)
	if err != nil || p == flow.P4Runtime {
		return 0, Usagef("--openflow %q: want 1.0 or 1.3", value)
	}
	return p, nil
}

// WriteJSON writes v as people can read it.
func WriteJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
