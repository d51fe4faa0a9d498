package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"switchbridge/controller"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/replay/capture"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Check policies and try them on captures", Args: noArgs}
	c.AddCommand(checkCommand(), evalCommand())
	return c
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check POLICY...",
		Short: "Validate policy files; print the version of each",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("policy check wants at least one policy file")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var bad []error
			for _, path := range args {
				p, err := policyfile.Load(path)
				if err != nil {
					bad = append(bad, err)
					continue
				}
				fmt.Fprintf(c.OutOrStdout(), "%s: good, version %v\n", path, p.Version())
			}
			return errors.Join(bad...)
		},
	}
}

func evalCommand() *cobra.Command {
	var opt eval.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "eval POLICY PCAP",
		Short: "Say what a policy decides for each flow of a capture, and why",
		Long: `Say what a policy decides for each flow of a capture, and why. The capture is
pcap or pcapng, plain or compressed by gzip; - is standard input.`,
		Args: exactly(2, "a policy file and a capture"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := policyfile.Load(args[0])
			if err != nil {
				return err
			}
			r, err := capture.NewReader(c.InOrStdin(), args[1])
			if err != nil {
				return err
			}
			defer r.Close()
			report, err := eval.EvalPCAP(c.Context(), controller.New(p), r, opt)
			if report != nil { // also of a capture that is cut: what was read counts
				write := report.WriteText
				if asJSON {
					write = report.WriteJSON
				}
				err = errors.Join(write(c.OutOrStdout()), err)
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
