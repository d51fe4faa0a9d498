package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/controller"
	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/internal/adminclient"
	"switchbridge/p4bridge"
	"switchbridge/p4bridge/mapping"
	"switchbridge/p4bridge/propose"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/prove"
)

func explainCommand() *cobra.Command {
	var inPort, dpid, device, mappingFile string
	var program []string
	var admin adminFlags
	c := &cobra.Command{
		Use:   "explain POLICY PACKET",
		Short: "Explain how a policy decides a packet, and which rules switches would get",
		Long: `Show which entry of a policy decides a packet, which entries nearly match it, and which
rules a switch of each protocol would get. For P4 it shows the table entries for Switchbridge's own
program, or for the program that --p4info and --mapping name. Packets are written as in expectations.

With --gateway it also shows which rules the gateway's switches have for the packet now,
and the number of their decision in the gateway's log and records. Then it shows the table
entries for each P4 switch of the gateway, with that switch's own program and mapping.`,
		Example: `  switchbridge policy explain office.yaml 'tcp 10.0.0.1:40000 > 10.0.0.2:22 vlan_vid 7'
  switchbridge policy explain office.yaml 'udp 10.0.0.1:40000 > 10.0.0.2:53' --in-port 3 --gateway 127.0.0.1:9653`,
		Args: cli.Exactly(2, "a policy and a packet"),
		RunE: func(c *cobra.Command, args []string) error {
			doc, err := readPolicy(c, args[0])
			if err != nil {
				return err
			}
			line := args[1]
			if inPort != "" {
				line += " in_port " + inPort
			}
			m, err := p4For(program, device, mappingFile)
			if err != nil {
				return err
			}
			p4 := []p4Switch{{name: flow.P4Runtime.String(), mapping: m}}
			if admin.URL == "" {
				return explain(c, doc, line, dpid, p4)
			}
			client, err := admin.client()
			if err != nil {
				return err
			}
			if len(program) == 0 && mappingFile == "" {
				list, err := p4Switches(c, client, dpid)
				if err != nil {
					return err
				}
				if len(list) > 0 {
					p4 = list
				}
			}
			if err := explain(c, doc, line, dpid, p4); err != nil {
				return err
			}
			packet, err := policytest.ParsePacket(line)
			if err != nil {
				return err
			}
			return inSwitches(c, client, &packet, dpid)
		},
	}
	c.Flags().StringVar(&admin.URL, "gateway", "", "admin address or URL of a running gateway: look at its switches, too")
	admin.credentials(c.Flags())
	c.Flags().StringSliceVar(&program, "p4info", nil, "P4Info of a program, or a folder with it and its .json: show the table entries, too")
	c.Flags().StringVar(&device, "p4json", "", "the program as compiled for BMv2, which belongs to --p4info")
	c.Flags().StringVar(&mappingFile, "mapping", "", "mapping of rules to entries of that program (default: the one that p4 info proposes)")
	c.Flags().StringVar(&inPort, "in-port", "", "port where the packet comes in (default 1)")
	c.Flags().StringVar(&dpid, "switch", "", "datapath id of the switch where it comes in, in hexadecimal (default 1)")
	return c
}

// p4Switch is a P4 switch, or the kind of one, and how rules become entries of its tables.
type p4Switch struct {
	name    string
	dpid    string // empty: any
	mapping *mapping.Mapping
}

// p4Switches asks a gateway about its P4 switches: all, or one.
func p4Switches(c *cobra.Command, admin *adminclient.Client, dpid string) (list []p4Switch, err error) {
	var switches []p4bridge.Status
	if err := admin.Get(c.Context(), "/api/v1/p4", &switches); err != nil {
		return nil, err
	}
	for _, s := range switches {
		if !chosen(s.DPID, dpid) {
			continue
		}
		var p p4bridge.Program
		if err := admin.Get(c.Context(), "/api/v1/p4/"+s.DPID+"/program", &p); err != nil {
			return nil, err
		}
		m, err := p.Bind()
		if err != nil {
			return nil, fmt.Errorf("switch %s: %w", s.DPID, err)
		}
		list = append(list, p4Switch{fmt.Sprintf("%v switch %s, by %s", flow.P4Runtime, s.DPID, p.File), s.DPID, m})
	}
	return list, nil
}

// chosen reports whether a switch is the one that is asked about, or all are.
func chosen(dpid, wanted string) bool {
	id, err := flow.ParseDPID(dpid)
	want, _ := flow.ParseDPID(wanted)
	return err != nil || wanted == "" || want == id
}

// p4For returns how rules become entries of a program.
func p4For(program []string, device, file string) (*mapping.Mapping, error) {
	if len(program) > 1 {
		return nil, cli.Usagef("--p4info: want one program")
	}
	p, err := readProgram(program, device)
	if err != nil {
		return nil, err
	}
	f := mapping.Default()
	switch {
	case file != "":
		r, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		if f, err = mapping.Parse(r, file); err != nil {
			return nil, err
		}
	case len(program) > 0:
		proposed, err := propose.Propose(p.Pipeline, p.info)
		if err != nil {
			return nil, err
		}
		if f, err = mapping.Parse(strings.NewReader(proposed.YAML()), "proposed mapping"); err != nil {
			return nil, err
		}
	}
	m, err := f.Bind(p.Pipeline)
	if err != nil {
		return nil, fmt.Errorf("mapping %s does not fit:\n%w", f.Name(), err)
	}
	return m, nil
}

// entries writes what a rule is in a program's tables. Where the program has no NORMAL, the gateway puts the port in its place that it has learned.
func entries(out io.Writer, m *mapping.Mapping, r *flow.Rule, packet *flow.Match) {
	e, t, err := m.Entry(r, packet)
	note := ""
	if normal := flow.ActionsString(r.Actions) == "output:NORMAL"; err != nil && normal {
		as := *r
		as.Actions = []flow.Action{flow.OutputTo(1)}
		var other error
		if e, t, other = m.Entry(&as, packet); other == nil {
			err, note = nil, " (or the port that the gateway has learned for NORMAL)"
		}
	}
	if err != nil {
		fmt.Fprintf(out, "    no entry: %v\n", err)
		return
	}
	fmt.Fprintf(out, "    %s%s\n", mapping.Written(t.P4, e), note)
}

func explain(c *cobra.Command, doc *policyfile.Document, line, dpid string, p4 []p4Switch) error {
	out := c.OutOrStdout()
	decider := controller.New(doc.Policy)
	type kind struct {
		p flow.Protocol
		p4Switch
	}
	kinds := []kind{{p: flow.OpenFlow10, p4Switch: p4Switch{name: flow.OpenFlow10.String()}}, {p: flow.OpenFlow13, p4Switch: p4Switch{name: flow.OpenFlow13.String()}}}
	for _, s := range p4 {
		kinds = append(kinds, kind{flow.P4Runtime, s})
	}
	for i, k := range kinds {
		ev, err := policytest.Event(line, k.p)
		if err != nil {
			return cli.Usage(err)
		}
		if ev.PacketIn == nil {
			return cli.Usagef("%q is no packet", line)
		}
		if to := cmp.Or(k.dpid, dpid); to != "" {
			if ev.Switch.DPID, err = flow.ParseDPID(to); err != nil {
				return cli.Usagef("--switch: %v", err)
			}
		}
		if k.mapping != nil {
			ev.Switch.Matchable = k.mapping.Matchable()
		}
		var d flow.Decision
		ev.Time = time.Now()
		if err := eval.NewTrial(decider).Decide(c.Context(), ev, &d); err != nil { // machines are in their first states
			return err
		}
		if i == 0 {
			m := &ev.PacketIn.Match
			fmt.Fprintf(out, "%s\n%v\n\n%v\n", line, m, d.Word())
			if d.Log {
				fmt.Fprintln(out, "log: true: the gateway's log has the decision, within log.decisions_rate")
			}
			if err := why(out, doc, ev, &d); err != nil {
				return err
			}
			fmt.Fprintln(out)
		}
		installed(out, k.name, &d, k.mapping, &ev.PacketIn.Match)
	}
	return nil
}

// why writes which entry decides.
func why(out io.Writer, doc *policyfile.Document, ev *flow.Event, d *flow.Decision) error {
	fmt.Fprintf(out, "reason: %s\n", d.Reason)
	if hidden := ev.PacketIn.Match.Unseen(); hidden != 0 {
		fmt.Fprintf(out, "the packet does not show %v, so entries that look at them may apply and may not\n", hidden)
		return nil
	}
	prover, err := prove.New(doc.Policy, 0)
	if errors.Is(err, prove.ErrBudget) {
		fmt.Fprintln(out, err)
		return nil
	}
	if err != nil {
		return err
	}
	e := prover.Explain(&ev.PacketIn.Match, doc.Line, d.Reason)
	_, err = io.WriteString(out, e.String())
	return err
}

// installed writes what a switch gets.
func installed(out io.Writer, name string, d *flow.Decision, p4 *mapping.Mapping, packet *flow.Match) {
	fmt.Fprintf(out, "%s:", name)
	if len(d.Rules) == 0 {
		_, note, _ := strings.Cut(d.Reason, "; ")
		fmt.Fprintf(out, " no rule, every such packet is asked about%s\n", map[bool]string{true: ": " + strings.TrimPrefix(note, "no rule: "), false: ""}[note != ""])
	} else {
		fmt.Fprintln(out)
		for i := range d.Rules {
			fmt.Fprintf(out, "  %s\n", d.Rules[i].String())
			if p4 != nil {
				entries(out, p4, &d.Rules[i], packet)
			}
		}
	}
	if d.HasPacketOut {
		fmt.Fprintf(out, "  the packet itself: %s\n", flow.ActionsString(d.PacketOut))
	}
}

// inSwitches writes which of a gateway's rules its switches have for a packet: of all of them, or of one.
func inSwitches(c *cobra.Command, admin *adminclient.Client, m *flow.Match, dpid string) error {
	var switches []gateway.SwitchStatus
	if err := admin.Get(c.Context(), "/api/v1/switches", &switches); err != nil {
		return err
	}
	var p4 []p4bridge.Status
	if err := admin.Get(c.Context(), "/api/v1/p4", &p4); err != nil {
		return err
	}
	for _, s := range p4 {
		sw := gateway.SwitchStatus{DPID: s.DPID, State: s.State}
		if s.State == p4bridge.StateServing {
			sw.State = "ready"
		}
		switches = append(switches, sw)
	}
	out, found := c.OutOrStdout(), false
	for _, sw := range switches {
		if !chosen(sw.DPID, dpid) {
			continue
		}
		found = true
		if sw.State != "ready" {
			fmt.Fprintf(out, "switch %s: %s\n", sw.DPID, sw.State)
			continue
		}
		var rules []gateway.RuleStatus
		if err := admin.Get(c.Context(), "/api/v1/switches/"+sw.DPID+"/rules", &rules); err != nil {
			return err
		}
		r, err := covering(rules, m)
		switch {
		case err != nil:
			return fmt.Errorf("switch %s: %w", sw.DPID, err)
		case r == nil:
			fmt.Fprintf(out, "switch %s: no rule of the gateway covers it now\n", sw.DPID)
		default:
			table := r.P4Table
			if table == "" {
				table = strconv.Itoa(int(r.Table))
			}
			fmt.Fprintf(out, "switch %s: table=%s,priority=%d,%s actions=%s\n  cookie %s, decision %d, %.0f s old, %d packets\n",
				sw.DPID, table, r.Priority, r.Match, r.Actions, r.Cookie, r.Decision, r.Age, r.Packets)
		}
	}
	if !found {
		fmt.Fprintln(out, "the gateway has no such switch")
	}
	return nil
}

// covering returns the rule that a switch takes for a packet: the one of the highest priority in the first table that has any, which of a P4 switch is
// the first that is listed.
func covering(rules []gateway.RuleStatus, packet *flow.Match) (best *gateway.RuleStatus, err error) {
	for i := range rules {
		r := &rules[i]
		if r.P4Table != "" && (best != nil || r.More != "") {
			continue // or Match would not say all of it
		}
		m, err := flow.ParseMatch(r.Match)
		if err != nil {
			return nil, err
		}
		if m.Covers(packet) && (best == nil || r.Table < best.Table || r.Table == best.Table && r.Priority > best.Priority) {
			best = r
		}
	}
	return best, nil
}
