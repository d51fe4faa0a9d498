package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print which build this is: version, commit, Go, platform",
		Example: `  switchbridge version
  switchbridge version --json`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b := cli.ThisBuild(version)
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), b)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "switchbridge %s\ncommit       %s\ngo           %s\nplatform     %s\n", b.Version, b.CommitText(), b.Go, b.Platform)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
