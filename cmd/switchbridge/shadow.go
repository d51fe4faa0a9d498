package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/gateway"
)

// writeShadow writes how a shadow has decided.
func writeShadow(w io.Writer, s *gateway.ShadowStatus) error {
	version := func(v string) string {
		if v == "" {
			return "without a version"
		}
		return v
	}
	share := ""
	if n := s.Events(); n > 0 {
		share = fmt.Sprintf(" (%.1f %% of them were asked about)", 100*float64(n-s.Shed)/float64(n))
	}
	fmt.Fprintf(w, "shadow     %s, policy %s, beside %s\nsince      %s\nevents     %d%s\n", s.Shadow, version(s.Policy), version(s.Beside), s.Since.Local().Format(time.DateTime), s.Events(), share)
	unexplained := "none unexplained"
	if s.Unexplained > 0 {
		unexplained = fmt.Sprintf("%d unexplained", s.Unexplained)
	}
	fmt.Fprintf(w, "verdicts   %d agree, %d disagree, %s\n", s.Agree, s.Disagree, unexplained)
	fmt.Fprintf(w, "beside     %d undecided, %d without an answer, %d stale, %d shed\n", s.Undecided, s.Failed, s.Stale, s.Shed)
	if len(s.Disagreements) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "EVENTS\tDECIDED\tSHADOW\tLATEST DECISION\tMATCH")
	for i := range s.Disagreements {
		d := &s.Disagreements[i]
		fmt.Fprintf(tw, "%d\t%s\t%s\t%d of %s\t%s\n", d.Count, decided(d.Verdict, d.Entry), decided(d.ShadowVerdict, d.ShadowEntry), d.Decision, d.DPID, d.Match)
	}
	if s.Others > 0 {
		fmt.Fprintf(tw, "%d\tand others\t\t\t\n", s.Others)
	}
	return tw.Flush()
}

func decided(verdict, entry string) string {
	if entry == "" {
		return verdict + " (no reason given)"
	}
	return verdict + " (" + entry + ")"
}

func promoteCommand() *cobra.Command {
	var f adminFlags
	var force bool
	c := &cobra.Command{
		Use:   "promote",
		Short: "Make the shadow of a running gateway its policy",
		Long: `Make the shadow of a running gateway its policy, and print how the two compared.
The shadow's file replaces the policy's file; if the shadow is a function, its
URL replaces the function's.

The gateway refuses this if the shadow was not compared with any decision yet, did not
answer some event, or disagrees for no known reason. switchbridge status --shadow shows
all of that and changes nothing.`,
		Example: `  switchbridge policy promote --admin-token-file token`,
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			var st gateway.ShadowStatus
			if err := client.Get(c.Context(), "/api/v1/shadow", &st); err != nil {
				return err
			}
			var answer gateway.PromoteAnswer
			if err := client.Post(c.Context(), "/api/v1/policy/promote", gateway.PromoteAction{Policy: st.Policy, Force: force}, &answer); err != nil {
				return err
			}
			out := c.OutOrStdout()
			if err := writeShadow(out, &answer.Figures); err != nil {
				return err
			}
			fmt.Fprintf(out, "\npromoted: %s decides now\n", st.Shadow)
			if answer.Remains != "" {
				fmt.Fprintf(out, "what is left to do: %s\n", answer.Remains)
			}
			return nil
		},
	}
	f.register(c.Flags())
	c.Flags().BoolVar(&force, "force", false, "promote it whatever the figures are")
	return c
}
