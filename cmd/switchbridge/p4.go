package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/pipeline"
	"switchbridge/p4src"
)

func p4Command() *cobra.Command {
	c := &cobra.Command{Use: "p4", Short: "P4 programs", Args: cli.NoArgs}
	c.AddCommand(p4InfoCommand())
	return c
}

func p4InfoCommand() *cobra.Command {
	var device string
	var mappings []string
	c := &cobra.Command{
		Use:   "info [P4INFO]",
		Short: "Say what a P4 program offers, and which mapping fits it",
		Long: `Say what a P4 program offers: tables, digests, packet headers and counters; and
for each mapping whether it fits, and if not, why. P4INFO is in protobuf's text
form, as p4c writes it; without one, the program is Switchbridge's own.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := program(args, device)
			if err != nil {
				return err
			}
			files := []*mapping.File{mapping.Default()}
			for _, path := range mappings {
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				m, err := mapping.Parse(f, path)
				f.Close()
				if err != nil {
					return err
				}
				files = append(files, m)
			}
			return mapping.Describe(c.OutOrStdout(), p, files...)
		},
	}
	c.Flags().StringVar(&device, "json", "", "the program as compiled, which must belong to P4INFO")
	c.Flags().StringSliceVar(&mappings, "mapping", nil, "mapping file to try (repeatable)")
	return c
}

// program reads a program's description, or is Switchbridge's own.
func program(args []string, device string) (*pipeline.Pipeline, error) {
	if len(args) == 0 {
		return p4src.Switchbridge(), nil
	}
	info, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	if device == "" {
		return nil, cli.Usagef("p4 info wants --json, the program as compiled, beside P4INFO")
	}
	compiled, err := os.ReadFile(device)
	if err != nil {
		return nil, err
	}
	p, err := pipeline.Load(info, compiled)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", args[0], device, err)
	}
	return p, nil
}
