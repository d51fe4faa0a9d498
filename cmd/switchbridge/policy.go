package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/policy/blob"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/replay/capture"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Check policies, try them on captures, bring them to platforms", Args: cli.NoArgs}
	c.AddCommand(checkCommand(), evalCommand(), compileCommand(), pushCommand(), rollbackCommand())
	return c
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check POLICY...",
		Short: "Validate policy files; print the version of each, and what they cost",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usagef("policy check wants at least one policy file")
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
				for _, w := range p.Warnings() {
					fmt.Fprintf(c.OutOrStdout(), "%s: warning: %s\n", path, w)
				}
				for _, entry := range p.Chain {
					if e, ok := entry.(interface{ Notes() []string }); ok {
						for _, note := range e.Notes() {
							fmt.Fprintf(c.OutOrStdout(), "%s: note: %s\n", path, note)
						}
					}
				}
			}
			return errors.Join(bad...)
		},
	}
}

func evalCommand() *cobra.Command {
	var opt eval.Options
	var version string
	var inPort uint32
	var asJSON bool
	c := &cobra.Command{
		Use:   "eval POLICY PCAP",
		Short: "Say what a policy decides for each flow of a capture, and why",
		Long: `Say what a policy decides for each flow of a capture, and why. The capture is
pcap or pcapng, plain or compressed by gzip; - is standard input.`,
		Args: cli.Exactly(2, "a policy file and a capture"),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if opt.Protocol, err = cli.OpenFlowVersion(version); err != nil {
				return err
			}
			opt.InPort = flow.PortNo(inPort)
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
			if report != nil && (err == nil || report.Packets > 0) { // also of a capture that is cut: what was read counts
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
	c.Flags().StringVar(&version, "openflow", "1.3", "of the switch that is imagined: 1.0 or 1.3")
	c.Flags().Uint32Var(&inPort, "in-port", 1, "port by which the packets come in")
	return c
}

func compileCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "compile POLICY BLOB",
		Short: "Pack a policy into the compact form that platforms are given",
		Args:  cli.Exactly(2, "a policy file and a file to write"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := policyfile.Load(args[0])
			if err != nil {
				return err
			}
			b, err := blob.Pack(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(args[1], b, 0o644); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s: version %v, %d bytes\n", args[1], p.Version(), len(b))
			return err
		},
	}
}
