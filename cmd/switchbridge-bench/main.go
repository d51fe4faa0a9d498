// Command switchbridge-bench measures controllers and functions. It is what
// "switchbridge bench" becomes, and a program of its own so that a gateway
// doesn't carry what draws a report.
package main

import (
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
		isolateCommand(), isolateHostileCommand(), isolateFunctionCommand(), failoverCommand(), conversationCommand(),
		stateCommand(), natsCommand(), scaleCommand(), soakCommand(), clusterCommand())
	cli.Prepare(root, version)
	root.CompletionOptions.HiddenDefaultCmd = true // switchbridge's own knows these commands
	return root
}

// writeClaims writes what a benchmark found out, figures and failures, and returns an error where there are failures.
func writeClaims(w io.Writer, r interface {
	WriteText(w io.Writer) error
	Err() error
}, asJSON bool) error {
	if asJSON {
		return errors.Join(cli.WriteJSON(w, r), r.Err())
	}
	return errors.Join(r.WriteText(w), r.Err())
}
