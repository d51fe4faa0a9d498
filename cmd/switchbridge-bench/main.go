// Command switchbridge-bench measures controllers and functions. It is what
// "switchbridge bench" becomes, and a program of its own so that a gateway
// doesn't carry what draws a report.
package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
)

// version is set by the build (-ldflags "-X main.version=...").
var version string

func main() { cli.Main(rootCommand()) }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:         "switchbridge-bench",
		Short:       "Measure controllers",
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "switchbridge bench"}, // as one types it
	}
	root.AddCommand(controllerCommand(), sessionsCommand(), startupCommand(), resourcesCommand(),
		functionCommand(), policyCommand(), paperCommand(), compareCommand(), calibrateCommand(), responderCommand(),
		isolateCommand(), isolateHostileCommand(), isolateFunctionCommand(), failoverCommand(), conversationCommand(), shadowCommand(),
		stateCommand(), natsCommand(), scaleCommand(), soakCommand(), clusterCommand())
	cli.Prepare(root, version)
	root.CompletionOptions.HiddenDefaultCmd = true // switchbridge's own knows these commands
	return root
}

// findings are what a benchmark found out: figures and failures.
type findings interface {
	WriteText(w io.Writer) error
	Err() error
}

// claimsCommand makes c run a benchmark and write its claims, as text or as JSON. While it runs, what there is to say goes to w, or through bar, which
// counts units; under --json nothing is said, and bar is nil.
func claimsCommand(c *cobra.Command, units string, run func(ctx context.Context, w io.Writer, bar *cli.Progress) (findings, error)) *cobra.Command {
	var asJSON bool
	c.Args = cli.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		w, bar := io.Discard, (*cli.Progress)(nil)
		if !asJSON {
			w = c.ErrOrStderr()
			bar = cli.NewProgress(w, units)
		}
		r, err := run(c.Context(), w, bar)
		bar.End()
		if err != nil {
			return err
		}
		return writeClaims(c.OutOrStdout(), r, asJSON)
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// writeClaims writes what a benchmark found out, and returns an error where there are failures.
func writeClaims(w io.Writer, r findings, asJSON bool) error {
	if asJSON {
		return errors.Join(cli.WriteJSON(w, r), r.Err())
	}
	return errors.Join(r.WriteText(w), r.Err())
}
