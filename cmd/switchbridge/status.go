package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/gateway"
	"switchbridge/internal/adminclient"
	"switchbridge/internal/watched"
	"switchbridge/p4bridge"
	"switchbridge/pair"
)

func statusCommand() *cobra.Command {
	var admin adminFlags
	var asJSON, withRules, shadow bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show what a running gateway is doing: switches, rules, decisions, latencies",
		Example: `  switchbridge status
  switchbridge status --rules
  switchbridge status --shadow --json`,
		Args: cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := admin.client()
			if err != nil {
				return err
			}
			if shadow {
				var st gateway.ShadowStatus
				if err := client.Get(c.Context(), "/api/v1/shadow", &st); err != nil {
					return err
				}
				if asJSON {
					return cli.WriteJSON(c.OutOrStdout(), &st)
				}
				return writeShadow(c.OutOrStdout(), &st)
			}
			st, err := fetchStatus(c.Context(), client, withRules)
			if err != nil {
				return err
			}
			if asJSON {
				return cli.WriteJSON(c.OutOrStdout(), st)
			}
			return st.print(c.OutOrStdout())
		},
	}
	admin.register(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&shadow, "shadow", false, "show instead how the shadow (run --shadow) decides compared with the policy")
	c.Flags().BoolVar(&withRules, "rules", false, "list the gateway's rules in each switch, and how full the tables of P4 switches are")
	return c
}

type fullStatus struct {
	Gateway  gateway.GatewayStatus           `json:"gateway"`
	Switches []gateway.SwitchStatus          `json:"switches"`
	Rules    map[string][]gateway.RuleStatus `json:"rules,omitempty"`
	P4       []p4bridge.Status               `json:"p4"`
}

func fetchStatus(ctx context.Context, admin *adminclient.Client, withRules bool) (*fullStatus, error) {
	st := new(fullStatus)
	if err := admin.Get(ctx, "/api/v1/status", &st.Gateway); err != nil {
		return nil, err
	}
	if err := admin.Get(ctx, "/api/v1/switches", &st.Switches); err != nil {
		return nil, err
	}
	if err := admin.Get(ctx, "/api/v1/p4", &st.P4); err != nil {
		return nil, err
	}
	if !withRules {
		return st, nil
	}
	st.Rules = map[string][]gateway.RuleStatus{}
	var ready []string
	for _, s := range st.Switches {
		if s.State == "ready" {
			ready = append(ready, s.DPID)
		}
	}
	for _, s := range st.P4 {
		if s.State == p4bridge.StateServing {
			ready = append(ready, s.DPID)
		}
	}
	for _, dpid := range ready {
		var rules []gateway.RuleStatus
		if err := admin.Get(ctx, "/api/v1/switches/"+dpid+"/rules", &rules); err != nil {
			return nil, err
		}
		st.Rules[dpid] = rules
	}
	return st, nil
}

// reloadText says how a file was read last.
func reloadText(r watched.Result) string {
	text := "in use since " + r.Time.Local().Format(time.DateTime)
	switch {
	case !r.OK:
		return "CHANGED AND NOT IN USE: " + r.Error
	case len(r.Restart) > 0:
		text += "; after a restart only: " + joined(r.Restart)
	}
	return text
}

// pairText says which of two gateways leads, and how the other one is.
func pairText(p *pair.Status) string {
	text := "this gateway stands by"
	if p.Leads {
		text = "this gateway leads"
	}
	text += fmt.Sprintf(" since %s: %s; ", p.Since.Format(time.RFC3339), p.Why)
	switch {
	case !p.Answers && p.Heard.IsZero():
		text += p.Peer + " has never answered"
	case !p.Answers:
		text += fmt.Sprintf("%s has not answered since %s", p.Peer, p.Heard.Format(time.RFC3339))
	case p.PeerIs.Leads:
		text += p.Peer + " leads"
	default:
		text += p.Peer + " stands by"
	}
	if p.Older && p.PeerIs != nil {
		text += fmt.Sprintf("; THIS GATEWAY'S POLICY IS OLDER: serial %d, and %s has %d; its rules live for seconds", p.Serial, p.Peer, p.PeerIs.Serial)
	}
	if p.RestsFor > 0 && !p.Leads {
		text += fmt.Sprintf("; claims nothing for another %.0f s", p.RestsFor)
	}
	return text
}

func (st *fullStatus) print(w io.Writer) error {
	g := &st.Gateway
	policy := g.Policy
	if policy == "" {
		policy = "none seen yet"
	}
	fmt.Fprintf(w, "gateway    %s, up %v\nfunction   %s\nchain      %s\npolicy     %s\n", g.Version, time.Since(g.Started).Round(time.Second), strings.Join(g.Function, ", "),
		g.Chain, policy)
	if p := g.Pair; p != nil {
		fmt.Fprintf(w, "pair       %s\n", pairText(p))
	}
	d := &g.Decisions
	fmt.Fprintf(w, "decisions  %d allow, %d deny, %d without verdict, %d failed\n", d.Allow, d.Deny, d.None, d.Failed)
	if d.Count > 0 {
		fmt.Fprintf(w, "latency    p50 %s, p90 %s, p99 %s (PACKET_IN read to answer sent)\n", seconds(d.P50), seconds(d.P90), seconds(d.P99))
	}
	for _, r := range g.Reloads {
		if !r.OK || r.What == "configuration" {
			fmt.Fprintf(w, "reload     %s %s: %s\n", r.What, r.File, reloadText(r))
		}
	}
	if len(st.P4) > 0 {
		fmt.Fprintln(w)
		tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(tw, "P4 DEVICE\tADDRESS\tSTATE\tPIPELINE\tMISS\tLEARNED\tERROR")
		for _, p := range st.P4 {
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%d\t%s\n", p.Device, p.Addr, p.State, p.Pipeline, p.Miss, p.Learned, p.Error)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	for _, p := range st.P4 {
		if p.Missing != "" {
			fmt.Fprintf(w, "\nP4 device %d is served and not governed: %s\n", p.Device, p.Missing)
		}
		if err := st.printTables(w, &p); err != nil {
			return err
		}
		if err := st.printRules(w, p.DPID); err != nil {
			return err
		}
	}
	if len(st.Switches) == 0 {
		if len(st.P4) > 0 {
			return nil
		}
		_, err := fmt.Fprintln(w, "\nno switch is connected")
		return err
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "DPID\tPROTOCOL\tSTATE\tREMOTE\tPORTS\tEVENTS\tDROPS\tPENDING\tUP")
	for _, s := range st.Switches {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%v\n", s.DPID, s.Protocol, s.State, s.Remote, len(s.Ports), s.Events, s.Drops, s.Pending, time.Since(s.Since).Round(time.Second))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, s := range st.Switches {
		if s.Missing != "" {
			fmt.Fprintf(w, "\nswitch %s is connected and not governed: %s\n", s.DPID, s.Missing)
		}
	}
	for _, s := range st.Switches {
		if err := st.printRules(w, s.DPID); err != nil {
			return err
		}
	}
	return nil
}

// printRules lists the gateway's rules in a switch, if they were asked for.
func (st *fullStatus) printRules(w io.Writer, dpid string) error {
	rules, ok := st.Rules[dpid]
	if !ok {
		return nil
	}
	fmt.Fprintf(w, "\nrules of %s\n", dpid)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "TABLE\tPRIORITY\tPACKETS\tIDLE\tHARD\tDECISION\tMATCH\tACTIONS")
	for _, r := range rules {
		table, actions := r.P4Table, r.Actions
		if table == "" {
			table = strconv.Itoa(int(r.Table))
		}
		for _, more := range []string{r.Flags, r.More} {
			if more != "" {
				actions += " (" + more + ")"
			}
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%g\t%g\t%d\t%s\t%s\n", table, r.Priority, r.Packets, r.Idle, r.Hard, r.Decision, r.Match, actions)
	}
	return tw.Flush()
}

// printTables says how full a P4 switch's tables are. Packets are as of the latest reading of
// counters, which is rare, since it blocks writes.
func (st *fullStatus) printTables(w io.Writer, p *p4bridge.Status) error {
	if st.Rules == nil || len(p.Tables) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\ntables of P4 device %d\n", p.Device)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "TABLE\tENTRIES\tSIZE\tPACKETS")
	for _, t := range p.Tables {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\n", t.Name, t.Entries, t.Size, t.Packets)
	}
	return tw.Flush()
}

// seconds writes a duration given in seconds with three digits.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3gs", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3gms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3gµs", float64(d)/1e3)
}
