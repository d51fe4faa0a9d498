package machine

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"switchbridge/flow"
	"switchbridge/policy"
	"switchbridge/policy/header"
)

// Kind implements [policy.Kind].
type Kind struct{}

// Name implements [policy.Kind].
func (Kind) Name() string { return Name }

// Code implements [policy.Kind].
func (Kind) Code() byte { return 5 }

// explained is how many machines are explained one by one.
const explained = 8

// Explain implements [policy.Source].
func (c *Config) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d machines decide by what has been before", len(c.Machines))
	for i := range c.Machines[:min(len(c.Machines), explained)] {
		m := &c.Machines[i]
		names := make([]string, len(m.States))
		for j := range m.States {
			names[j] = m.States[j].Name
		}
		fmt.Fprintf(&b, "; %s: a state for each %v, of %s, from %s on by %d transitions", m.Name, m.Key, strings.Join(names, ", "), m.States[m.Start].Name, len(m.Transitions))
	}
	if more := len(c.Machines) - explained; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

// Examples implements [policy.Kind].
func (Kind) Examples() []policy.Example {
	var tcp, cellar, uplink flow.Match
	tcp.SetIPProto(flow.ProtoTCP)
	uplink.SetInPort(77)
	cellar.SetIPDst(netip.MustParsePrefix("192.0.2.77/32"))
	cellar.SetEthType(flow.EthTypeIPv4)
	knock := cellar
	knock.SetIPProto(flow.ProtoTCP)
	deny := Action{Action: header.Action{Deny: true}}
	web := header.PortRange{First: 443, Last: 443}
	return []policy.Example{{
		Entry: &Config{Machines: []Machine{
			{
				Name: "cellar", For: header.Condition{Header: cellar}, Key: Src, Forget: time.Hour,
				States: []State{
					{Name: "shut", Action: deny},
					{Name: "open", Action: deny, Rules: []Rule{{Name: "web", Match: header.Condition{Header: knock, Dst: &web},
						When: []When{{Machine: "guard", In: 1}}, Action: Action{Action: header.Action{Output: []flow.PortNo{2}}}}}},
				},
				Transitions: []Transition{
					{From: 1, To: 1, Match: header.Condition{Header: knock, Dst: &header.PortRange{First: 7777, Last: 7777}}, Flags: Flags{Set: flow.SYN, Clear: flow.ACK}},
					{From: 2, To: 0, On: OnTime, After: time.Minute},
					{From: 2, To: 0, On: OnRemoved, Removed: 1 << flow.RemovedIdle},
				},
			},
			{
				Name: "guard", For: header.Condition{Header: uplink}, Key: Network, OnError: Restart,
				States: []State{{Name: "quiet", Action: Action{Next: true}}, {Name: "alarm", Action: deny}},
				Transitions: []Transition{
					{From: 1, To: 1, Match: header.Condition{Header: tcp}, Count: 20, Distinct: flow.FieldL4Dst, Within: 10 * time.Second},
					{From: 1, To: 1, HasQuotes: true, Quotes: header.Condition{Header: cellar}},
					{From: 2, To: 0, On: OnPort, Ports: PortUp},
				},
			},
		}},
		Packets: []string{"tcp 10.0.0.1:40000 > 192.0.2.77:22", "udp 10.0.0.1:40000 > 192.0.2.77:53"},
	}}
}
