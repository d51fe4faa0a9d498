// Package conformance is the one suite that every host of a function passes: the same events get
// the same decisions, whatever runs the controller and in whatever encoding it is asked.
package conformance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"switchbridge/controller"
	"switchbridge/faas/function"
	"switchbridge/flow"
	"switchbridge/flow/contract"
	"switchbridge/functiontest"
	"switchbridge/policy"
	"switchbridge/policy/blocklist"
	"switchbridge/policy/forward"
	"switchbridge/policy/header"
	"switchbridge/policy/kinds"
	"switchbridge/policy/policytest"
)

// Policy uses every kind of policy: its chain is the first example of each, and before forward an entry that lets answers of host 10.0.0.9 in.
func Policy() *policy.Policy {
	web := flow.Match{}
	web.SetIPProto(flow.ProtoTCP)
	web.SetIPDst(netip.MustParsePrefix("10.0.0.9/32"))
	from := flow.Match{}
	from.SetIPSrc(netip.MustParsePrefix("10.0.0.9/32"))
	p := examples()
	last := slices.IndexFunc(p.Chain, func(s policy.Source) bool { return s.Name() == forward.Name })
	p.Chain = slices.Insert(p.Chain, last, policy.Source(&header.Config{Rules: []header.Rule{
		{Name: "web", Priority: 100, Match: header.Condition{Header: web, Dst: &header.PortRange{First: 80, Last: 80}}, Action: header.Action{Replies: true}},
		{Name: "from-9", Priority: 50, Match: header.Condition{Header: from}, Action: header.Action{Deny: true}},
	}}))
	return p
}

func examples() *policy.Policy {
	p := &policy.Policy{Serial: 7, Hash: 0xc0ffee, Install: policy.DefaultInstall}
	for _, kind := range kinds.All {
		p.Chain = append(p.Chain, kind.Examples()[0].Entry)
	}
	return p
}

// BenchmarkPolicy is the part of Policy that benchmarks decide by, so that their figures are not of another policy with every new
// kind.
func BenchmarkPolicy() *policy.Policy {
	p := examples()
	p.Chain = slices.DeleteFunc(p.Chain, func(s policy.Source) bool {
		return s.Name() != blocklist.Name && s.Name() != header.Name && s.Name() != forward.Name
	})
	return p
}

// Case is one event.
type Case struct {
	functiontest.Case

	// Covers says that the answer has rules, and that all of them say covers_incomplete. No other
	// answer's do.
	Covers bool

	// Reply says that the answer says what becomes of the packet if it is a reply. No other's does.
	Reply bool
}

// Cases are those that every function is tested with, with what Policy decides about them, and the packets of every kind's first example.
func Cases() (cases []Case) {
	for _, c := range functiontest.Cases() {
		_, name, _ := strings.Cut(c.Name, "/")
		cases = append(cases, Case{Case: c, Reply: name == "answer",
			Covers: name == "fragment of ICMP" || name == "fragment from a blocked source" || name == "digest of a fragment"})
	}
	for _, protocol := range []flow.Protocol{flow.OpenFlow10, flow.OpenFlow13} {
		for _, kind := range kinds.All {
			for i, line := range kind.Examples()[0].Packets {
				frame, port, err := policytest.Packet(line)
				if err != nil {
					panic("example of " + kind.Name() + ": " + err.Error()) // TestCases meets it first
				}
				cases = append(cases, Case{Case: functiontest.PacketCase(fmt.Sprintf("%s %d", kind.Name(), i+1), protocol, frame, port)})
			}
		}
	}
	return cases
}

// Run asks d all cases and compares its answers with those of the controller in process, asked in
// the same encoding. d decides by Policy.
func Run(t *testing.T, d flow.Decider, codec contract.Codec) {
	t.Helper()
	RunBy(t, Policy(), d, codec)
}

// Stateless is [Policy] without entries that remember, for functions that have no store.
func Stateless() *policy.Policy {
	p := Policy()
	p.Chain = slices.DeleteFunc(p.Chain, func(s policy.Source) bool {
		r, ok := s.(policy.Remembering)
		return ok && r.Remembers()
	})
	return p
}

// RunBy is Run for a function that decides by p: [Policy], or [Stateless].
func RunBy(t *testing.T, p *policy.Policy, d flow.Decider, codec contract.Codec) {
	t.Helper()
	c := controller.New(p)
	codecs := function.Codecs{OpenFlow: codec}
	if codec.ContentType() == contract.TypeJSON {
		codecs = function.Codecs{JSON: codec}
	}
	native := function.NewDecider(function.New(c, codecs), codec)
	for _, row := range Cases() {
		t.Run(row.Name, func(t *testing.T) {
			var want, got, direct flow.Decision
			if err := native.Decide(t.Context(), row.Event, &want); err != nil {
				t.Fatal("the controller in process:", err)
			}
			// The encoding itself must not change what is decided.
			if err := c.Decide(t.Context(), row.Event, &direct); err != nil {
				t.Fatal(err)
			}
			if direct.Verdict != want.Verdict || direct.Reason != want.Reason || len(direct.Rules) != len(want.Rules) || direct.Policy != want.Policy {
				t.Errorf("asked in %s the controller says %+v, without it %+v", codec.ContentType(), want, direct)
			}
			if err := d.Decide(t.Context(), row.Event, &got); err != nil {
				t.Fatal(err)
			}
			for _, d := range []*flow.Decision{&want, &got} { // what no message of OpenFlow came by has 0, which says the same
				lists := [][]flow.Rule{d.Rules}
				for _, r := range []*flow.Reply{d.IfReply, d.Reuse.Reply} {
					if r != nil {
						lists = append(lists, r.Rules)
					}
				}
				for _, list := range lists {
					for i := range list {
						if list[i].OutPort == 0 {
							list[i].OutPort = flow.PortAny
						}
					}
				}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			covers := 0
			for i := range got.Rules {
				if got.Rules[i].CoversIncomplete {
					covers++
				}
			}
			if row.Covers && (len(got.Rules) == 0 || covers < len(got.Rules)) || !row.Covers && covers > 0 {
				t.Errorf("%d of %d rules say covers_incomplete; want all: %v", covers, len(got.Rules), row.Covers)
			}
			if (got.IfReply != nil) != row.Reply {
				t.Errorf("the answer says %+v of a reply; want anything: %t", got.IfReply, row.Reply)
			}
			if err := functiontest.CheckHandshake(row.Event, &got); err != nil {
				t.Error(err)
			}
		})
	}
}
