package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/controller"
	"switchbridge/faas/distribution/policyhost"
	"switchbridge/flow"
	"switchbridge/policy/blob"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/replay/capture"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Check, prove and compare policies, try them on captures, bring them to platforms", Args: cli.NoArgs}
	c.AddCommand(checkCommand(), testCommand(), explainCommand(), diffCommand(), evalCommand(), suggestCommand(), fromMUDCommand(), compileCommand(), pushCommand(), promoteCommand(), rollbackCommand())
	return c
}

func evalCommand() *cobra.Command {
	var opt eval.Options
	var version string
	var inPort uint32
	var asJSON bool
	var records []string
	c := &cobra.Command{
		Use:   "eval POLICY {PCAP | --records FILE}",
		Short: "Show what a policy decides for each flow of a capture or of a gateway's records, and why",
		Long: `Show what a policy decides for each flow of a capture, and why. The capture is
pcap or pcapng, plain or compressed by gzip; - is standard input.

With --records it decides the packets that a gateway has decided (log.records), with
their real ports and switches, and lists those that the policy decides differently.`,
		Example: `  switchbridge policy eval office.yaml office.pcapng
  switchbridge policy eval next.yaml --records records.jsonl.1 --records records.jsonl`,
		Args: observedArgs(&records, 1, "a policy file"),
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			if opt.Protocol, err = cli.OpenFlowVersion(version); err != nil {
				return err
			}
			opt.InPort = flow.PortNo(inPort)
			doc, err := readPolicy(c, args[0])
			if err != nil {
				return err
			}
			r, err := capture.NewReader(c.InOrStdin(), append(args[1:], records...)...)
			if err != nil {
				return err
			}
			defer r.Close()
			report, err := eval.EvalPCAP(c.Context(), controller.New(doc.Policy), r, opt)
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
	recordsFlag(c, &records)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&version, "openflow", "1.3", "OpenFlow version of the imagined switch: 1.0 or 1.3")
	c.Flags().Uint32Var(&inPort, "in-port", 1, "port where the packets come in")
	return c
}

// recordsFlag adds the flag that names a gateway's records of decisions.
func recordsFlag(c *cobra.Command, files *[]string) {
	c.Flags().StringArrayVar(files, "records", nil, "records of a gateway's decisions (log.records) instead of a capture (repeatable, the oldest first)")
}

// observedArgs wants n arguments, and a capture behind them unless there are records.
func observedArgs(records *[]string, n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(*records) > 0 {
			return cli.Exactly(n, cmp.Or(what, "no capture")+" beside --records")(c, args)
		}
		return cli.Exactly(n+1, strings.TrimPrefix(what+" and a capture, or --records FILE", " and "))(c, args)
	}
}

// readPolicy reads a policy in either form, and warns of what could not be looked up.
func readPolicy(c *cobra.Command, path string) (*policyfile.Document, error) {
	doc, stale, err := policyhost.ReadNow(c.Context(), path)
	for _, why := range stale {
		warn(c, fmt.Errorf("the last result stays in use: %w", why))
	}
	return doc, err
}

func compileCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "compile POLICY BLOB",
		Short:   "Compile a policy into the compact form for platforms",
		Example: `  switchbridge policy compile policy.yaml policy.blob`,
		Args:    cli.Exactly(2, "a policy file and a file to write"),
		RunE: func(c *cobra.Command, args []string) error {
			doc, err := readPolicy(c, args[0])
			if err != nil {
				return err
			}
			p := doc.Policy
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
