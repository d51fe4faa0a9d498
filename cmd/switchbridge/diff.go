package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/controller"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/prove"
	"switchbridge/replay/capture"
)

func diffCommand() *cobra.Command {
	var pcaps, records []string
	var budget int
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Show for which packets two policies decide differently",
		Long: `Say exactly for which packets two policies decide differently, with an example of each
kind. With --pcap, say also which conversations of a capture are decided differently;
with --records, which of those that a gateway has decided about. Packets that hide
headers, such as fragments, are left out. Machines are compared state by state, if the same
packets move them in both policies, and source guards that learn, if they learn alike.
Otherwise they can't be compared: the command names them, and the exit status is 1. In
all other cases it is 0, even if there are differences.`,
		Example: `  switchbridge policy diff policy.yaml next.yaml
  switchbridge policy diff policy.yaml next.yaml --pcap office.pcapng
  switchbridge policy diff policy.yaml next.yaml --records records.jsonl`,
		Args: cli.Exactly(2, "an old and a new policy"),
		RunE: func(c *cobra.Command, args []string) error {
			var docs [2]*policyfile.Document
			for i := range docs {
				var err error
				if docs[i], err = readPolicy(c, args[i]); err != nil {
					return err
				}
			}
			changes, uncompared, err := prove.Diff(docs[0].Policy, docs[1].Policy, docs[0].Line, docs[1].Line, budget)
			if err != nil {
				return err
			}
			writeChanges(c.OutOrStdout(), changes, uncompared)
			if files := append(pcaps, records...); len(files) > 0 {
				if err := diffCapture(c, docs, files); err != nil {
					return err
				}
			}
			if len(uncompared) > 0 {
				return fmt.Errorf("undecided: not everything can be compared (%d reasons)", len(uncompared))
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&pcaps, "pcap", nil, "capture whose conversations are compared (repeatable)")
	recordsFlag(c, &records)
	c.Flags().IntVar(&budget, "budget", prove.DefaultBudget, "give up after so many comparisons of conditions")
	return c
}

// maxChanges is how many changes are written.
const maxChanges = 50

func writeChanges(w io.Writer, list []prove.Change, uncompared []string) {
	for _, why := range uncompared {
		fmt.Fprintln(w, "can't be compared: "+why)
	}
	switch {
	case len(list) > 0:
	case len(uncompared) == 0:
		fmt.Fprintln(w, "no packet is decided differently")
	default:
		fmt.Fprintln(w, "no other packet is decided differently")
	}
	for i, c := range list {
		if i == maxChanges {
			fmt.Fprintf(w, "and %d more\n", len(list)-i)
			break
		}
		fmt.Fprintln(w, c.Packets)
		if len(c.Except) > 0 {
			fmt.Fprintf(w, "    without what is decided before by: %s\n", strings.Join(c.Except, ", "))
		}
		fmt.Fprintf(w, "    was: %s\n    is:  %s\n    such as: %s\n", c.Old, c.New, lines(&c.Example))
	}
}

// lines are the events that lead to a packet, and the packet.
func lines(c *prove.Counterexample) string {
	var list []string
	for _, m := range c.Trace {
		list = append(list, m.Line)
	}
	return strings.Join(list, "\n             ")
}

// diffCapture writes the flows of a capture whose verdict changes.
func diffCapture(c *cobra.Command, docs [2]*policyfile.Document, files []string) error {
	var reports [2]*eval.Report
	for i, doc := range docs {
		r, err := capture.NewReader(c.InOrStdin(), files...)
		if err != nil {
			return err
		}
		reports[i], err = eval.EvalPCAP(c.Context(), controller.New(doc.Policy), r, eval.Options{})
		r.Close()
		if err != nil {
			return err
		}
	}
	out, changed := c.OutOrStdout(), 0
	for i, was := range reports[0].Flows {
		is := reports[1].Flows[i] // of the same packets
		if was.Verdict == is.Verdict {
			continue
		}
		changed++
		fmt.Fprintf(out, "packet %d, and %d like it: %s\n    was: %s (%s)\n    is:  %s (%s)\n", was.First, was.Packets-1, was.Match, was.Verdict, was.Reason, is.Verdict, is.Reason)
	}
	_, err := fmt.Fprintf(out, "%s: %d of %d flows are decided differently\n", strings.Join(files, ", "), changed, len(reports[0].Flows))
	return err
}
