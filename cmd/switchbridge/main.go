// Command switchbridge lets switches be controlled by a stateless function. Run
// it without arguments for its commands.
package main

import (
	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
)

// version is set by the build (-ldflags "-X main.version=...").
var version string

func main() { cli.Main(rootCommand()) }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "switchbridge",
		Short: "Control switches by a stateless function",
		Long: `Switchbridge lets ordinary switches be controlled by a stateless function. It
terminates OpenFlow sessions, turns each PACKET_IN into one call of a controller
that runs as a function, and installs the rules that come back.

Begin with an Open vSwitch bridge of this machine. Each command says what to type next:
  switchbridge init
  switchbridge run --config switchbridge.yaml
  switchbridge doctor --config switchbridge.yaml

Exit codes: 0 success, 1 failure, 2 a mistake in the command line.`,
	}
	root.AddCommand(initCommand(), runCommand(), doctorCommand(), functionCommand(), policyCommand(), replayCommand(), benchCommand(), p4Command(), statusCommand(), reloadCommand(), pairCommand(), versionCommand())
	cli.Prepare(root, version)
	return root
}
