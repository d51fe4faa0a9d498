package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/controller"
	"switchbridge/faas/distribution/policyhost"
	"switchbridge/flow"
	"switchbridge/gateway"
	"switchbridge/internal/adminclient"
	"switchbridge/policy/eval"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/prove"
	"switchbridge/replay/capture"
)

func explainCommand() *cobra.Command {
	var inPort, dpid string
	var admin adminFlags
	c := &cobra.Command{
		Use:   "explain POLICY PACKET",
		Short: "Say why a policy decides a packet as it does, and what switches would get",
		Long: `Say which entry of a policy decides a packet, which nearly does, and what would be
installed on a switch of each protocol (of P4, with a program that matches all fields).
A packet is written as in expectations:

    switchbridge policy explain office.yaml 'tcp 10.0.0.1:40000 > 10.0.0.2:22 vlan_vid 7'

With --gateway, say also which of the gateway's rules its switches have for the packet now,
and the number that the decision has in the gateway's log and records.`,
		Args: cli.Exactly(2, "a policy and a packet"),
		RunE: func(c *cobra.Command, args []string) error {
			doc, err := policyhost.Read(args[0])
			if err != nil {
				return err
			}
			line := args[1]
			if inPort != "" {
				line += " in_port " + inPort
			}
			if err := explain(c, doc, line, dpid); err != nil || admin.URL == "" {
				return err
			}
			m, err := policytest.ParsePacket(line)
			if err != nil {
				return err
			}
			client, err := admin.client()
			if err != nil {
				return err
			}
			return inSwitches(c, client, &m, dpid)
		},
	}
	c.Flags().StringVar(&admin.URL, "gateway", "", "admin address of a running gateway, or its URL, whose switches are looked at, too")
	admin.credentials(c.Flags())
	c.Flags().StringVar(&inPort, "in-port", "", "port by which the packet comes in (default 1)")
	c.Flags().StringVar(&dpid, "switch", "", "datapath id of the switch that it comes to, in hexadecimal (default 1)")
	return c
}

// explained are the protocols that a switch may speak.
var explained = []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13, flow.P4Runtime}

func explain(c *cobra.Command, doc *policyfile.Document, line, dpid string) error {
	out := c.OutOrStdout()
	for i, p := range explained {
		ev, err := policytest.Event(line, p)
		if err != nil {
			return cli.Usage(err)
		}
		if ev.PacketIn == nil {
			return cli.Usagef("%q is no packet", line)
		}
		if dpid != "" {
			if ev.Switch.DPID, err = flow.ParseDPID(dpid); err != nil {
				return cli.Usagef("--switch: %v", err)
			}
		}
		var d flow.Decision
		ev.Time = time.Now()
		if err := eval.NewTrial(controller.New(doc.Policy)).Decide(c.Context(), ev, &d); err != nil { // machines are in their first states
			return err
		}
		if i == 0 {
			m := &ev.PacketIn.Match
			fmt.Fprintf(out, "%s\n%v\n\n%v\n", line, m, d.Verdict)
			if err := why(out, doc, ev, &d); err != nil {
				return err
			}
			fmt.Fprintln(out)
		}
		installed(out, p, &d)
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
	if err != nil {
		return err
	}
	e := prover.Explain(&ev.PacketIn.Match, doc.Line)
	_, err = io.WriteString(out, e.String())
	return err
}

// installed writes what a switch gets.
func installed(out io.Writer, p flow.Protocol, d *flow.Decision) {
	fmt.Fprintf(out, "%v:", p)
	if len(d.Rules) == 0 {
		_, note, _ := strings.Cut(d.Reason, "; ")
		fmt.Fprintf(out, " no rule, every such packet is asked about%s\n", map[bool]string{true: ": " + strings.TrimPrefix(note, "no rule: "), false: ""}[note != ""])
	} else {
		fmt.Fprintln(out)
		for i := range d.Rules {
			fmt.Fprintf(out, "  %s\n", d.Rules[i].String())
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
	out, found := c.OutOrStdout(), false
	for _, sw := range switches {
		id, err := flow.ParseDPID(sw.DPID)
		if want, _ := flow.ParseDPID(dpid); err == nil && dpid != "" && want != id {
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
			fmt.Fprintf(out, "switch %s: table=%d,priority=%d,%s actions=%s\n  cookie %s, decision %d, %.0f s old, %d packets\n",
				sw.DPID, r.Table, r.Priority, r.Match, r.Actions, r.Cookie, r.Decision, r.Age, r.Packets)
		}
	}
	if !found {
		fmt.Fprintln(out, "the gateway has no such switch")
	}
	return nil
}

// covering returns the rule that a switch takes for a packet: the one of the highest priority in the first table that has any.
func covering(rules []gateway.RuleStatus, packet *flow.Match) (best *gateway.RuleStatus, err error) {
	for i := range rules {
		r := &rules[i]
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

func testCommand() *cobra.Command {
	format := "text"
	c := &cobra.Command{
		Use:   "test POLICY...",
		Short: "Try what policy files say that they decide",
		Long: `Try what policy files say that they decide: lines "# expect: PACKET => VERDICT (REASON)"
in a file, and lines without "# expect:" in a file beside it that is called as the policy is,
with .expect in the place of .yaml. The reason may be left out.

The exit status is 1 where a packet gets something else, and where nothing is expected.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usagef("policy test wants at least one policy file")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var suites testSuites
			for _, path := range args {
				s, err := testPolicy(c.Context(), path)
				if err != nil {
					return err
				}
				suites.Suites = append(suites.Suites, s)
			}
			var err error
			switch format {
			case "text":
				err = suites.text(c.OutOrStdout())
			case "junit":
				err = suites.junit(c.OutOrStdout())
			default:
				return cli.Usagef("--format %q: want text or junit", format)
			}
			failed := 0
			for _, s := range suites.Suites {
				failed += s.Failures
			}
			if err == nil && failed > 0 {
				err = fmt.Errorf("%d expectations are not met", failed)
			}
			return err
		},
	}
	c.Flags().StringVar(&format, "format", format, "text, or junit: JUnit's XML")
	return c
}

// testSuites are results as JUnit's XML has them.
type testSuites struct {
	XMLName xml.Name    `xml:"testsuites"`
	Suites  []testSuite `xml:"testsuite"`
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	File    string   `xml:"file,attr"`
	Line    int      `xml:"line,attr"`
	Failure *failure `xml:"failure"`
}

type failure struct {
	Message string `xml:"message,attr"`
}

func testPolicy(ctx context.Context, path string) (s testSuite, err error) {
	doc, err := policyhost.Read(path)
	if err != nil {
		return s, err
	}
	list, err := expectations(path)
	if err != nil {
		return s, err
	}
	if len(list) == 0 {
		return s, fmt.Errorf("%s: nothing is expected of it: want lines such as # expect: tcp 10.0.0.1:40000 > 10.0.0.2:22 => allow", path)
	}
	s.Name = path
	trial := eval.NewTrial(controller.New(doc.Policy))
	for i := range list {
		e := &list[i]
		got, met, err := trial.Try(ctx, e)
		if err != nil {
			return s, at(e.File, e.Line, err.Error())
		}
		one := testCase{Class: path, Name: e.Packet, File: e.File, Line: e.Line}
		if !met {
			one.Failure = &failure{fmt.Sprintf("got %s, want %s", got, e.Want)}
			s.Failures++
		}
		s.Cases = append(s.Cases, one)
	}
	s.Tests = len(s.Cases)
	return s, nil
}

// expectations reads those in a policy file and those beside it.
func expectations(path string) (list []policytest.Expectation, err error) {
	base := strings.TrimSuffix(strings.TrimSuffix(path, ".yaml"), ".yml")
	for _, f := range []struct {
		name, prefix string
	}{{path, "# expect: "}, {base + ".expect", ""}} {
		body, err := os.ReadFile(f.name)
		if errors.Is(err, os.ErrNotExist) && f.name != path {
			continue
		}
		if err != nil {
			return nil, err
		}
		some, err := policytest.ReadExpectations(string(body), f.name, f.prefix)
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return list, nil
}

func (s *testSuites) text(w io.Writer) error {
	for _, suite := range s.Suites {
		for _, c := range suite.Cases {
			if c.Failure != nil {
				fmt.Fprintf(w, "%s:%d: %s: %s\n", c.File, c.Line, c.Name, c.Failure.Message)
			}
		}
		if _, err := fmt.Fprintf(w, "%s: %d of %d expectations are met\n", suite.Name, suite.Tests-suite.Failures, suite.Tests); err != nil {
			return err
		}
	}
	return nil
}

func (s *testSuites) junit(w io.Writer) error {
	b, err := xml.MarshalIndent(s, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, b)
	}
	return err
}

func diffCommand() *cobra.Command {
	var pcap string
	var budget int
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say for which packets two policies decide differently",
		Long: `Say exactly for which packets two policies decide differently, each kind with an example,
and with --pcap which conversations of a capture that concerns. Packets that don't show all
that they have are not among them. The exit status is 0 whether there are any or not.`,
		Args: cli.Exactly(2, "an old and a new policy"),
		RunE: func(c *cobra.Command, args []string) error {
			var docs [2]*policyfile.Document
			for i := range docs {
				var err error
				if docs[i], err = policyhost.Read(args[i]); err != nil {
					return err
				}
			}
			changes, err := prove.Diff(docs[0].Policy, docs[1].Policy, docs[0].Line, docs[1].Line, budget)
			if err != nil {
				return err
			}
			writeChanges(c.OutOrStdout(), changes)
			if pcap == "" {
				return nil
			}
			return diffCapture(c, docs, pcap)
		},
	}
	c.Flags().StringVar(&pcap, "pcap", "", "capture whose conversations are compared")
	c.Flags().IntVar(&budget, "budget", prove.DefaultBudget, "comparisons of conditions before the question is given up")
	return c
}

// maxChanges is how many changes are written.
const maxChanges = 50

func writeChanges(w io.Writer, list []prove.Change) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no packet is decided differently")
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
		fmt.Fprintf(w, "    was: %s\n    is:  %s\n    such as: %s\n", c.Old, c.New, c.Example.Words)
	}
}

// diffCapture writes the flows of a capture whose verdict changes.
func diffCapture(c *cobra.Command, docs [2]*policyfile.Document, pcap string) error {
	var reports [2]*eval.Report
	for i, doc := range docs {
		r, err := capture.NewReader(c.InOrStdin(), pcap)
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
	_, err := fmt.Fprintf(out, "%s: %d of %d flows are decided differently\n", pcap, changed, len(reports[0].Flows))
	return err
}
