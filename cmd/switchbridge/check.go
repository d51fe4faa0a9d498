package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/spf13/cobra"

	"switchbridge/cmd/internal/cli"
	"switchbridge/policy/policyfile"
	"switchbridge/policy/policytest"
	"switchbridge/policy/prove"
	"switchbridge/settings"
	"switchbridge/state/fastlykv"
	"switchbridge/state/travel"
)

// checking is what policy check is told.
type checking struct {
	config         string
	counterexample string
	budget         int
	meters         []uint32
	state          string // URL of the store
	pair           bool   // the gateway is one of two
	found          []*prove.Counterexample
}

func checkCommand() *cobra.Command {
	var how checking
	c := &cobra.Command{
		Use:   "check POLICY...",
		Short: "Check policies for mistakes, prove what they promise, and print their versions and what they cost",
		Long: `Check policies for mistakes and print the version of each. A policy is a YAML file, or a
compiled one. It is an error if an entry can never decide, or if a machine can never reach
one of its states. For each promise of a file, the command proves that it holds for all packets,
or prints a packet that breaks it; policy explain shows why. If machines decide, it prints the
fewest packets and events that break the promise, in the form that policy test reads.

A proof that needs more than --budget comparisons ends: the promise is "undecided: budget",
and that is an error, too.`,
		Example: `  switchbridge policy check policy.yaml
  switchbridge policy check --config switchbridge.yaml --counterexample broken.pcap policy.yaml next.yaml`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usagef("policy check wants at least one policy file")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if how.config != "" {
				set, err := settings.Load(how.config)
				if err != nil {
					return err
				}
				how.meters, how.pair = set.OpenFlow.MeterIDs(), set.Pair.On()
				how.state = cmp.Or(how.state, set.State.URL)
			}
			var bad []error
			for _, path := range args {
				bad = append(bad, how.check(c, path))
			}
			if how.counterexample != "" && len(how.found) > 0 {
				bad = append(bad, writeCounterexamples(how.counterexample, how.found))
			}
			return errors.Join(bad...)
		},
	}
	c.Flags().StringVar(&how.config, "config", "", "the gateway's configuration, for its meters, its store of states and its pair")
	c.Flags().StringVar(&how.state, "state", "", "the store for the states of the policy's machines, instead of the configuration's")
	c.Flags().StringVar(&how.counterexample, "counterexample", "", "write the packets that break promises, and those that lead to them, to this pcap file")
	c.Flags().IntVar(&how.budget, "budget", prove.DefaultBudget, "give up a proof after so many comparisons of conditions")
	return c
}

// at writes an error as those of policy files are.
func at(path string, line int, msg string) error {
	return &policyfile.Error{File: path, Line: line, Msg: msg}
}

func (how *checking) check(c *cobra.Command, path string) error {
	bar := cli.NewProgress(c.ErrOrStderr(), "steps")
	defer bar.End()
	bar.Set(0, 0, path+": reading")
	doc, err := readPolicy(c, path)
	if err != nil {
		return err
	}
	prover, err := prove.New(doc.Policy, how.budget)
	if err != nil {
		return at(path, 0, err.Error())
	}
	steps := int64(2 + len(doc.Promises))
	bar.Set(1, steps, path+": entries that can never decide")
	bad, err := neverDecides(path, doc, prover)
	bad = append(bad, err)
	if how.config != "" {
		for _, f := range prove.Meters(doc.Policy, how.meters, doc.Line) {
			bad = append(bad, at(path, f.Line, f.Msg))
		}
	}
	if how.state == travel.URL {
		for _, why := range doc.Policy.CantTravel(how.pair) {
			bad = append(bad, at(path, 0, "states can't travel with events: "+why))
		}
	}
	out := c.OutOrStdout()
	for i := range doc.Promises {
		p := &doc.Promises[i]
		bar.Set(int64(2+i), steps, path+": "+p.Text)
		broken, err := prover.Keeps(p)
		switch {
		case err != nil:
			bad = append(bad, at(path, p.Line, fmt.Sprintf("%s: %v", p.Text, err)))
		case broken != nil:
			how.found = append(how.found, broken)
			bad = append(bad, at(path, p.Line, p.Text+" is broken by\n    "+writeTrace(broken, "    ")+perhaps(broken)))
		default:
			fmt.Fprintf(out, "%s:%d: proved: %s\n", path, p.Line, p.Text)
		}
	}
	bar.End()
	if err := errors.Join(bad...); err != nil {
		return err
	}
	if len(doc.Promises) > 0 {
		fmt.Fprintf(out, "%s: promises are of decisions; %s\n", path, lag(doc))
		if doc.Policy.Replies() {
			fmt.Fprintf(out, "%s: a packet that is denied passes all the same if it answers one that was allowed (replies: allow); promises don't count that\n", path)
		}
	}
	fmt.Fprintf(out, "%s: good, version %v\n", path, doc.Policy.Version())
	if how.state == fastlykv.URL && doc.Policy.Stateful() {
		fmt.Fprintf(out, "%s: warning: states in Fastly's KV store may be read as they were some time ago: until an edge has a change, packets that change no state are decided by the older one. No change is lost\n", path)
	}
	for _, w := range doc.Policy.Warnings() {
		fmt.Fprintf(out, "%s: warning: %s\n", path, w)
	}
	for _, entry := range doc.Policy.Chain {
		if e, ok := entry.(interface{ Notes() []string }); ok {
			for _, note := range e.Notes() {
				fmt.Fprintf(out, "%s: note: %s\n", path, note)
			}
		}
	}
	return nil
}

// writeTrace writes the events that lead to a packet, as expectations are written.
func writeTrace(c *prove.Counterexample, indent string) string {
	var lines []string
	for _, m := range c.Trace {
		lines = append(lines, m.Line+" => "+m.Got)
	}
	return strings.Join(lines, "\n"+indent)
}

// perhaps says that nobody knows whether fewer events would do.
func perhaps(c *prove.Counterexample) string {
	if c.Fewest {
		return ""
	}
	return "\n    (whether fewer events would do is undecided)"
}

// lag says how long rules of an earlier policy may still let pass what this one denies.
func lag(doc *policyfile.Document) string {
	in := doc.Policy.Install
	if in.HardTimeout == 0 {
		return "rules that an earlier policy installed go when the gateway has this one, and have no hard_timeout on a switch that it does not reach"
	}
	return fmt.Sprintf("rules that an earlier policy installed go when the gateway has this one, and after its hard_timeout (here %v) on a switch that it does not reach", in.HardTimeout)
}

// neverDecides returns what can never decide as errors, and one that says that this was given up.
func neverDecides(path string, doc *policyfile.Document, prover *prove.Prover) (bad []error, undecided error) {
	faults, err := prover.Faults(doc.Line)
	for _, f := range faults {
		bad = append(bad, at(path, f.Line, f.Msg))
	}
	if err != nil {
		undecided = at(path, 0, err.Error())
	}
	return bad, undecided
}

// writeCounterexamples writes a capture of packets.
func writeCounterexamples(path string, list []*prove.Counterexample) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return err
	}
	begin := time.Unix(0, 0)
	for _, c := range list {
		for _, m := range c.Trace {
			if m.Words == "" {
				continue // an event that is no packet
			}
			frame, _, err := policytest.Packet(m.Words)
			if err != nil {
				return err
			}
			if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: begin.Add(m.At), CaptureLength: len(frame), Length: len(frame)}, frame); err != nil {
				return err
			}
		}
		begin = begin.Add(c.Trace[len(c.Trace)-1].At + time.Second)
	}
	return f.Close()
}

// goodPolicy reads a policy that is to be put in force, in either form: one with an entry that can never decide is refused. One that is too large
// to find out is not.
func goodPolicy(c *cobra.Command, path string) (*policyfile.Document, error) {
	doc, err := readPolicy(c, path)
	if err != nil {
		return nil, err
	}
	prover, err := prove.New(doc.Policy, 0)
	if errors.Is(err, prove.ErrBudget) {
		warn(c, at(path, 0, err.Error()))
		return doc, nil
	}
	if err != nil {
		return nil, at(path, 0, err.Error())
	}
	bad, err := neverDecides(path, doc, prover)
	warn(c, err)
	return doc, errors.Join(bad...)
}
