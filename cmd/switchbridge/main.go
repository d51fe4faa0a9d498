// Command switchbridge lets switches be controlled by a stateless function. Run
// it without arguments for its commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build (-ldflags "-X main.version=...").
var version string

// Exit codes, beyond 0 for success and 1 for failure.
const exitUsage = 2

// usageError is a mistake in the command line.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := rootCommand().ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "switchbridge:", err)
	var ue usageError
	if errors.As(err, &ue) {
		os.Exit(exitUsage)
	}
	os.Exit(1)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "switchbridge",
		Short: "Control switches by a stateless function",
		Long: `Switchbridge lets ordinary switches be controlled by a stateless function. It
terminates OpenFlow sessions, turns each PACKET_IN into one call of a controller
that runs as a function, and installs the rules that come back.

Start a gateway that allows everything and say so to an Open vSwitch bridge:
  switchbridge run
  ovs-vsctl set-fail-mode br0 secure -- \
    set bridge br0 other-config:disable-in-band=true -- \
    set-controller br0 tcp:127.0.0.1:6653

Exit codes: 0 success, 1 failure, 2 a mistake in the command line.`,
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("switchbridge {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
	})
	root.AddCommand(runCommand(), functionCommand(), policyCommand(), replayCommand(), benchCommand(), p4Command(), statusCommand())
	nameCommands(root)
	return root
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
		return usageError{fmt.Errorf("%q is no command of %s (%s)", args[0], c.CommandPath(), hint)}
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.DisableFlagsInUseLine = true
}

// buildVersion is what the build set, or what the Go toolchain recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return "devel-" + s.Value[:12]
			}
		}
	}
	return "devel"
}

// exactly and noArgs are cobra's, with errors that count as usage errors.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("%s wants %s", commandName(c), what)}
		}
		return nil
	}
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument, but got %q (see --help)", commandName(c), args[0])}
	}
	return nil
}

// commandName is the command without the program, whose name stands before every error.
func commandName(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}
